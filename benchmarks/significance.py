"""All tests between twelve models with five seeds on as many users as Amazon Beauty has, and the map of those users.

python benchmarks/significance.py --out docs/results/significance.json
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch

from common import describe_machine, write_json
from diffurecsys.evaluation.maps import map_points
from diffurecsys.evaluation.ranks import Ranks
from diffurecsys.evaluation.significance.comparison import compare_models
from diffurecsys.evaluation.significance.scores import ModelScores, user_scores


def simulate(name: str, users: int, seeds: int, rng: np.random.Generator) -> ModelScores:
    zeros = np.zeros(users, dtype=np.int64)
    by_seed = {
        seed: Ranks(
            user=np.arange(users),
            target=zeros,
            greater=np.exp(rng.normal(6, 2, users)).astype(np.int64),
            tied=zeros,
            greater_unseen=zeros,
            tied_unseen=zeros,
            history_length=zeros,
            target_popularity=zeros,
        )
        for seed in range(seeds)
    }
    return user_scores(name, by_seed, (5, 10, 20))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--users", type=int, default=22_363)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    scores = [simulate(f"model_{number}", arguments.users, arguments.seeds, rng) for number in range(arguments.models)]
    began = time.perf_counter()
    table = compare_models(scores, n_resamples=arguments.resamples)
    tested = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    points = rng.normal(size=(arguments.users, arguments.width)).astype(np.float32)
    points += 3 * rng.normal(size=(20, arguments.width)).astype(np.float32)[rng.integers(0, 20, arguments.users)]
    began = time.perf_counter()
    map_points(points)
    result = {
        "machine": describe_machine(torch.device("cpu")),
        "set_up": {name: getattr(arguments, name) for name in ("models", "seeds", "users", "resamples", "width")},
        "tests": len(table),
        "tests_seconds": tested,
        "peak_memory_bytes": 1024 * peak,
        "map_seconds": time.perf_counter() - began,
    }
    write_json(arguments.out, result)


if __name__ == "__main__":
    main()
