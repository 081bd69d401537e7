"""Exact search among millions of items, on one thread: processor seconds and memory of the ten best for some users.

python benchmarks/million_items.py --out docs/results/million_items.json
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import torch

from common import describe_machine, peak_memory, write_json
from diffurecsys.serving.top_items import top_items
from diffurecsys.training import derive_generator

USERS, WIDTH, BEST = 64, 128, 10


def measure(n_items: int) -> dict[str, float]:
    """Find the ten best for 64 users, three times."""
    generator = derive_generator(0, "table")
    table = torch.randn(n_items, WIDTH, generator=generator)
    users = torch.randn(USERS, WIDTH, generator=generator)
    seconds = []
    for _ in range(3):
        began = time.process_time()
        top_items(users, table, BEST)
        seconds.append(time.process_time() - began)
    return {
        "items": n_items,
        "processor_seconds": median(seconds),
        "processor_milliseconds_a_user": 1000 * median(seconds) / USERS,
        "table_bytes": table.numel() * table.element_size(),
        "peak_memory_bytes": peak_memory(torch.device("cpu")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000, 4_000_000])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "command": "python benchmarks/million_items.py",
        "machine": describe_machine(torch.device("cpu")),
        "set_up": {"users": USERS, "width": WIDTH, "best": BEST},
        "results": [measure(n_items) for n_items in args.items],
    }
    write_json(args.out, result)


if __name__ == "__main__":
    main()
