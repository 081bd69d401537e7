"""Users scored a second by number of reverse steps, on all test users of an experiment.

Beside them a padded torch.nn.TransformerEncoder, which takes as long for every batch and is given one of them.

python benchmarks/evaluation_throughput.py --experiment beauty --out docs/results/evaluation_throughput.json
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import torch

from common import (
    MODELS,
    build_model,
    describe_machine,
    load_data,
    matmul_flops,
    memory_bandwidth,
    synchronise,
    write_json,
)
from diffurecsys.data.packing import Packer
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.training import derive_generator
from diffurecsys.training.device import autocast, keep_freed_memory, resolve_device
from flops import forward_flops
from padded import PaddedDiffuRec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="beauty")
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--every", type=int, default=1, help="take every n-th batch; may miss the longest histories")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 4, 32])
    parser.add_argument("--padded-part", type=int, default=128, help="users the padded model takes at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    device, config = resolve_device(args.device), DiffuRecConfig()
    keep_freed_memory()
    data = load_data(args.experiment, args.length)
    store, test = data.store, data.split.test
    in_order = Packer(store, test, device).batches(torch.argsort(test.lengths, stable=True), args.batch_size)
    batches = [batch for number, (batch, _) in enumerate(in_order) if number % args.every == 0]
    users = sum(len(batch) for batch in batches)
    models = {
        name: build_model(name, store.n_items, config, derive_generator(0, "weights")).to(device).eval()
        for name in MODELS
    }
    noise = derive_generator(0, "noise", device)

    padded = PaddedDiffuRec(store.n_items, config, args.length).to(device).eval()
    middle = batches[len(batches) // 2]

    def score_all(name: str, steps: int) -> float:
        synchronise(device)
        began = time.perf_counter()
        with torch.inference_mode(), autocast(device, "auto"):
            if name == "padded":
                for part in padded.pad(middle)[0].split(args.padded_part):
                    padded.score(part, steps)
            else:
                for batch in batches:
                    models[name].score(batch, noise, steps)
        synchronise(device)
        return (time.perf_counter() - began) * (users / len(middle) if name == "padded" else 1)

    seconds: dict[str, dict[int, list[float]]] = {
        name: {steps: [] for steps in args.steps} for name in (*MODELS, "padded")
    }
    limits = []
    for number in range(args.rounds + 1):
        limits.append(matmul_flops(device, 8192, config.width))
        for name in seconds:
            for steps in args.steps if number else [1]:  # the first round warms up
                taken = score_all(name, steps)
                if number:
                    seconds[name][steps].append(taken)

    def flops(name: str, steps: int) -> float:
        return sum(forward_flops(name, config, batch, store.n_items, steps) for batch in batches)

    limit = median(limits)
    write_json(
        args.out,
        {
            "command": f"python benchmarks/evaluation_throughput.py --experiment {args.experiment} "
            f"--length {args.length} --every {args.every} --rounds {args.rounds}",
            "machine": describe_machine(device),
            "setting": {"length": args.length, "items": store.n_items, "users": users, **vars(config)},
            "matmul_gflops": limit / 1e9,
            "memory_gigabytes_per_second": memory_bandwidth(device) / 1e9,
            "users_per_second": {n: {s: users / median(t) for s, t in by.items()} for n, by in seconds.items()},
            "share_of_matmul_limit": {
                n: {s: flops(n, s) / median(t) / limit for s, t in seconds[n].items()} for n in MODELS
            },
            "speed_up_over_padded": {
                n: {
                    s: median(p / t for p, t in zip(seconds["padded"][s], seconds[n][s], strict=True))
                    for s in args.steps
                }
                for n in MODELS
            },
            "users_per_second_at_the_limit": {n: {s: users * limit / flops(n, s) for s in args.steps} for n in MODELS},
        },
    )


if __name__ == "__main__":
    main()
