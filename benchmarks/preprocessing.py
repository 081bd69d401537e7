"""Preprocessing of made-up interactions, skewed like the Amazon files, beside the same job in plain pandas.

From typed interactions on disk to sequences on disk: 5-core, order in time, contiguous numbers. Every job runs in a
process of its own, in turn, so that its peak memory can be told; both must find the same sequences.

python benchmarks/preprocessing.py --rows 2000000 20000000 --out docs/results/preprocessing.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from common import describe_machine, peak_memory, write_json
from diffurecsys.columns import ITEM_ID, ITEMS, ROW, TIMESTAMP, USER_ID
from diffurecsys.data.kcore import filter_and_count
from diffurecsys.data.sequences import build_sequences, count_interactions
from diffurecsys.datasets import IbisFileDataset

USERS, USER_SKEW = 2.2, 4  # a row's user is 2.2 rows · uniform⁴. With two million rows this makes 1.1 million users,
ITEMS_DRAWN, ITEM_SKEW = 0.15, 3  # 290,000 items, 194,000 rows in the 5-core; Amazon Beauty: 1.2, 0.25, 0.2 million
DAYS = 5000
K = 5
SCHEMA = pa.schema([(USER_ID, pa.string()), (ITEM_ID, pa.string()), (TIMESTAMP, pa.int64()), (ROW, pa.int64())])


def make_interactions(rows: int, path: Path) -> None:
    """Write `rows` interactions: texts like Amazon's, most users with one or two rows, times by the day."""
    rng = np.random.default_rng(0)
    user = (USERS * rows * rng.random(rows) ** USER_SKEW).astype(np.int64)
    item = (ITEMS_DRAWN * rows * rng.random(rows) ** ITEM_SKEW).astype(np.int64)

    def texts(number: np.ndarray[Any, np.dtype[np.int64]], letter: str, digits: int) -> pa.Array:
        """Scattered names, so that equal prefixes and order help nobody."""
        scattered = number * 2_654_435_761 % 10**digits * 10**9 + number
        return pa.array(np.char.add(letter, scattered.astype(f"U{digits + 9}")))

    with pq.ParquetWriter(path, SCHEMA) as writer:
        for begin in range(0, rows, 1_000_000):
            part = slice(begin, begin + 1_000_000)
            count = len(user[part])
            times = 1_000_000_000 + 86_400 * rng.integers(DAYS, size=count)
            names = [texts(user[part], "A", 4), texts(item[part], "B", 3)]
            columns = [*names, pa.array(times), pa.array(np.arange(begin, begin + count))]
            writer.write_table(pa.table(columns, schema=SCHEMA))


def with_the_project(folder: Path) -> None:
    """What the nodes of the preprocessing pipeline do, through the same datasets."""

    def file(name: str) -> IbisFileDataset:
        connection = {"backend": "duckdb"}
        return IbisFileDataset(filepath=str(folder / f"{name}.parquet"), file_format="parquet", connection=connection)

    interactions = file("interactions").load()
    file("core").save(filter_and_count(interactions, user_k=K, item_k=K)[0])
    core = file("core").load()
    count_interactions(core)
    file("sequences").save(build_sequences(core).table)


def with_pandas(folder: Path) -> None:
    """Write the same sequences, as one would with pandas alone."""
    rows = pd.read_parquet(folder / "interactions.parquet")
    while True:
        users, items = rows[USER_ID].value_counts(), rows[ITEM_ID].value_counts()
        enough = rows[USER_ID].isin(users.index[users >= K]) & rows[ITEM_ID].isin(items.index[items >= K])
        if enough.all():
            break
        rows = rows[enough]
    rows = rows.sort_values(ROW)
    rows["user"], rows["item"] = pd.factorize(rows[USER_ID])[0], pd.factorize(rows[ITEM_ID])[0]
    rows = rows.sort_values(["user", TIMESTAMP, ROW])
    sequences = rows.groupby("user").agg(items=("item", list), timestamps=(TIMESTAMP, list))
    sequences.reset_index().to_parquet(folder / "sequences.parquet")


JOBS: dict[str, Callable[[Path], None]] = {"diffurecsys": with_the_project, "pandas": with_pandas}


def fingerprint(path: Path) -> str:
    """Digest the sequences' items and lengths."""
    lists = pq.read_table(path)[ITEMS].combine_chunks()
    digest = hashlib.sha256(lists.flatten().to_numpy().astype(np.int64).tobytes())
    digest.update(np.asarray(lists.value_lengths()).astype(np.int64).tobytes())
    return digest.hexdigest()


def work(job: str, folder: Path) -> None:
    """Do one job and print what it took, as JSON."""
    began, cpu_began = time.perf_counter(), time.process_time()
    JOBS[job](folder)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    peak = peak_memory(torch.device("cpu"))
    found = fingerprint(folder / "sequences.parquet")
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_memory_bytes": peak, "fingerprint": found}))


def measure(rows: int, rounds: int) -> dict[str, Any]:
    """Run every job `rounds` times on new data of this size."""
    taken: dict[str, list[dict[str, Any]]] = {job: [] for job in JOBS}
    with tempfile.TemporaryDirectory() as folder:
        make_interactions(rows, Path(folder) / "interactions.parquet")
        for _ in range(rounds):
            for job in JOBS:
                command = [sys.executable, __file__, "--job", job, "--folder", folder]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                taken[job].append(json.loads(done.stdout.splitlines()[-1]))
        core = pq.read_metadata(Path(folder) / "core.parquet").num_rows
    if len({one["fingerprint"] for runs in taken.values() for one in runs}) != 1:
        sys.exit("the jobs found different sequences")
    best = {job: min(one["seconds"] for one in runs) for job, runs in taken.items()}
    return {
        "rows": rows,
        "rows_in_the_5_core": core,
        "runs": taken,
        "rows_per_second": {job: rows / seconds for job, seconds in best.items()},
        "peak_memory_bytes": {job: max(one["peak_memory_bytes"] for one in runs) for job, runs in taken.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000_000, 20_000_000])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--job", choices=JOBS, help="do this job alone, in --folder")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.job:
        work(args.job, args.folder)
        return
    write_json(
        args.out,
        {
            "command": f"python benchmarks/preprocessing.py --rows {' '.join(map(str, args.rows))}",
            "machine": describe_machine(torch.device("cpu")),
            "results": [measure(rows, args.rounds) for rows in args.rows],
        },
    )


if __name__ == "__main__":
    main()
