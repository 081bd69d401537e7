"""Where the time of a training step goes, by operator: a Markdown table.

python benchmarks/step_profile.py --experiment beauty --length 100 --batch-size 1024
"""

from __future__ import annotations

import argparse

import torch
from torch.profiler import ProfilerActivity, profile

from common import MODELS, build_model, load_data, training_packer
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.training import derive_generator
from diffurecsys.training.device import keep_freed_memory, resolve_device
from training_throughput import stepper

STEPS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="diffurec")
    parser.add_argument("--experiment", default="beauty")
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--rows", type=int, default=14)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()

    keep_freed_memory()
    device, data = resolve_device(args.device), load_data(args.experiment, args.length)
    packer = training_packer(data, device)
    model = build_model(args.model, data.store.n_items, DiffuRecConfig(), derive_generator(0, "weights")).to(device)
    noise = derive_generator(0, "noise", device)
    step = stepper(model, lambda batch: [model.loss(batch, noise)], device)
    order = torch.randperm(len(packer), generator=derive_generator(0, "shuffle"))
    batches = packer.batches(order, args.batch_size)
    for _ in range(3):
        step(next(batches)[0])
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    with profile(activities=activities) as found:
        for _ in range(STEPS):
            step(next(batches)[0])
    clock = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    operators = sorted(found.key_averages(), key=lambda operator: -getattr(operator, clock))
    total = sum(getattr(operator, clock) for operator in operators)
    print(f"{total / STEPS / 1000:.0f} ms a step\n\n| Operator | Share | ms a step | Calls a step |\n|---|---|---|---|")
    for operator in operators[: args.rows]:
        taken = getattr(operator, clock)
        print(f"| `{operator.key}` | {taken / total:.1%} | {taken / STEPS / 1000:.1f} | {operator.count // STEPS} |")
    rest = sum(getattr(operator, clock) for operator in operators[args.rows :])
    print(f"| {len(operators) - args.rows} more | {rest / total:.1%} | {rest / STEPS / 1000:.1f} | |")


if __name__ == "__main__":
    main()
