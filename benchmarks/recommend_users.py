"""Time and memory of recommendations for many users over a large catalogue, written as `recommend` writes them.

python benchmarks/recommend_users.py --out docs/results/recommend_users.json
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch

from common import describe_machine, peak_memory, write_json
from diffurecsys.data.store import SequenceStore
from diffurecsys.models import build_ranker
from diffurecsys.models.families.sasrec import SASRecConfig
from diffurecsys.serving.batch import KnownUsers, write_recommendations
from diffurecsys.serving.recommender import Recommender
from diffurecsys.training import derive_generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--length", type=int, default=9, help="of every history")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--chunk", type=int, default=2048)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    draw = derive_generator(0, "data")
    events = torch.randint(args.items, (args.users * args.length,), generator=draw, dtype=torch.int32)
    store = SequenceStore(events, torch.arange(args.users + 1) * args.length, args.items)
    config = SASRecConfig(width=args.width, heads=2, max_length=max(50, args.length))
    ranker = build_ranker("sasrec", config, args.items, derive_generator(0, "weights")).eval()
    identifiers = [f"item {number}" for number in range(args.items)]
    known = KnownUsers(store, [f"user {number}" for number in range(args.users)], identifiers)
    recommender = Recommender(ranker, identifiers, config.max_length, torch.ones(args.items))
    before, began, used = peak_memory(torch.device("cpu")), time.perf_counter(), time.process_time()
    last = began

    def show(done: int) -> None:
        nonlocal last
        if time.perf_counter() - last > 30:
            last = time.perf_counter()
            print(f"{done:,} users, {done / (last - began):,.0f} a second", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recommendations.parquet"
        written = write_recommendations(
            recommender, known, known, path, file_format="parquet", k=args.k, chunk=args.chunk, on_users=show
        )
        seconds, processor = time.perf_counter() - began, time.process_time() - used
        size = path.stat().st_size
        assert pq.read_metadata(path).num_rows == written.rows == args.users * args.k
    write_json(
        args.out,
        {
            "command": f"python benchmarks/recommend_users.py {' '.join(sys.argv[1:])}",
            "threads": torch.get_num_threads(),
            **{name: getattr(args, name) for name in ("users", "items", "width", "length", "k", "chunk")},
            "seconds": round(seconds, 1),
            "users_per_second": round(args.users / seconds, 1),
            "processor_seconds": round(processor, 1),  # of all threads; other work on the machine stretches them less
            "users_per_processor_second": round(args.users / processor, 1),
            "gflop_per_processor_second": round(2 * args.users * args.items * args.width / processor / 1e9, 1),
            "peak_gb": round(peak_memory(torch.device("cpu")) / 1e9, 2),
            "peak_gb_before": round(before / 1e9, 2),
            "file_mb": round(size / 1e6, 1),
            "machine": describe_machine(torch.device("cpu")),
        },
    )


if __name__ == "__main__":
    main()
