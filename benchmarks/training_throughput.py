"""Training steps of the packed models and of a padded torch.nn.TransformerEncoder, in turn on the same batches.

python benchmarks/training_throughput.py --experiment beauty --out docs/results/training_throughput.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median

import torch
from torch import nn

from common import (
    MODELS,
    build_model,
    describe_machine,
    load_data,
    matmul_flops,
    memory_bandwidth,
    synchronise,
    training_packer,
    write_json,
)
from diffurecsys.data.packing import PackedBatch
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.training import derive_generator
from diffurecsys.training.device import in_precision, keep_freed_memory, resolve_device
from flops import forward_flops
from padded import PaddedDiffuRec

Step = Callable[[PackedBatch], None]
Losses = Callable[[PackedBatch], Iterable[torch.Tensor]]


def stepper(model: nn.Module, losses: Losses, device: torch.device) -> Step:
    """Return what one optimiser step does: the gradients of one or more parts of the batch, then an update."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)

    def step(batch: PackedBatch) -> None:
        optimiser.zero_grad(set_to_none=True)
        with in_precision(device, "auto"):
            for value in losses(batch):
                value.backward()
        optimiser.step()

    return step


def padded_losses(model: PaddedDiffuRec, part_size: int) -> Losses:
    """Return the losses of the padded model, in parts: on a CPU it is several times faster than in one piece."""

    def losses(batch: PackedBatch) -> Iterator[torch.Tensor]:
        items, targets = model.pad(batch)
        for part, target in zip(items.split(part_size), targets.split(part_size), strict=True):
            yield model.loss(part, target) * (len(part) / len(batch))

    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="beauty")
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--padded-part", type=int, default=128, help="examples the padded model takes at once")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    device, config = resolve_device(args.device), DiffuRecConfig()
    if device.type == "cpu":
        keep_freed_memory()
    data = load_data(args.experiment, args.length)
    store, packer = data.store, training_packer(data, device)
    order = torch.randperm(len(packer), generator=derive_generator(0, "shuffle"))
    batches = [
        batch for _, (batch, _) in zip(range(args.rounds + 1), packer.batches(order, args.batch_size), strict=False)
    ]

    steps: dict[str, Step] = {}
    for name in MODELS:
        model = build_model(name, store.n_items, config, derive_generator(0, "weights")).to(device)
        noise = derive_generator(0, "noise", device)
        steps[name] = stepper(model, lambda batch, model=model, noise=noise: [model.loss(batch, noise)], device)
    padded = PaddedDiffuRec(store.n_items, config, args.length).to(device)
    steps["padded"] = stepper(padded, padded_losses(padded, args.padded_part), device)

    seconds: dict[str, list[float]] = {name: [] for name in steps}
    limits: list[float] = []
    for number, batch in enumerate(batches):
        limits.append(matmul_flops(device, 8192, config.width))
        for name, step in steps.items():  # in turn, so that all meet the same state of the machine
            synchronise(device)
            began = time.perf_counter()
            step(batch)
            synchronise(device)
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - began)

    speed = {
        name: median(len(b) / t for b, t in zip(batches[1:], times, strict=True)) for name, times in seconds.items()
    }
    limit = median(limits)
    write_json(
        args.out,
        {
            "command": f"python benchmarks/training_throughput.py --experiment {args.experiment} "
            f"--length {args.length} --batch-size {args.batch_size}",
            "machine": describe_machine(device),
            "setting": {"length": args.length, "batch_size": args.batch_size, "items": store.n_items, **vars(config)},
            "tokens_per_step": median(len(batch.items) for batch in batches[1:]),
            "matmul_gflops": limit / 1e9,
            "memory_gigabytes_per_second": memory_bandwidth(device) / 1e9,
            "seconds_per_step": seconds,
            "examples_per_second": speed,
            "tokens_per_second": {
                name: median(len(b.items) / t for b, t in zip(batches[1:], seconds[name], strict=True))
                for name in steps
            },
            "share_of_matmul_limit": {
                name: median(
                    3 * forward_flops(name, config, batch, store.n_items) / t / limit
                    for batch, t in zip(batches[1:], seconds[name], strict=True)
                )
                for name in MODELS
            },
            "speed_up_over_padded": {
                name: median(p / t for p, t in zip(seconds["padded"], seconds[name], strict=True)) for name in MODELS
            },
        },
    )


if __name__ == "__main__":
    main()
