"""Everything to be known about a GPU within ten minutes: is it right, how fast is it, what bounds it.

Needs PyTorch and NumPy alone, and the split files of some experiments in one folder, named after them: preprocessing
leaves them as data/05_model_input/<experiment>/split.npz. Every part that fails is reported and the others go on.

PYTHONPATH=src python benchmarks/gpu_check.py check --data data/gpu --out gpu.json
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from common import (
    MODELS,
    build_model,
    describe_machine,
    matmul_flops,
    memory_bandwidth,
    peak_memory,
    synchronise,
    training_packer,
    write_json,
)
from diffurecsys.data.packing import PackedBatch, Packer, pack_histories
from diffurecsys.data.split import StudyData, leave_one_out, load_split
from diffurecsys.layers.attention import attention
from diffurecsys.layers.segments import Segments
from diffurecsys.losses.cross_entropy import catalogue_cross_entropy
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.training import TrainingConfig, derive_generator, train
from diffurecsys.training.config import Precision
from diffurecsys.training.device import autocast, resolve_device
from flops import forward_flops
from training_throughput import stepper

To = Callable[[Tensor], Tensor]  # moves a tensor to a device
EPOCHS = 41  # the paper's
PROCESSES = (1, 2, 4)  # cells at once on one GPU


@dataclass(frozen=True)
class Job:
    """What to check, and how much of it."""

    device: torch.device
    data: Path
    datasets: tuple[str, ...]
    config: DiffuRecConfig
    length: int
    batch_size: int
    steps: int
    epochs: int
    large_items: int

    def study(self, dataset: str) -> StudyData:
        """Load a dataset."""
        store = load_split(self.data / f"{dataset}.npz").store
        return StudyData(store, leave_one_out(store, max_length=self.length))

    def batches(self, data: StudyData, count: int) -> Iterator[PackedBatch]:
        """Yield training batches; again from the start where the data ends."""
        packer = training_packer(data, self.device)
        made = 0
        while made < count:
            order = torch.randperm(len(packer), generator=derive_generator(0, "shuffle"))
            for batch, _ in packer.batches(order[: len(order) // self.batch_size * self.batch_size], self.batch_size):
                if made == count:
                    return
                yield batch
                made += 1


def lowered(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return autocast to the precision, on a CPU as on a GPU: what is rehearsed there is what runs here."""
    return nullcontext() if precision == "float32" else torch.autocast(device.type, dtype=torch.bfloat16)


def check_against_the_host(job: Job) -> dict[str, float]:
    """Distance of the device's results from the host's in float32, relative to the size of these, part by part.

    All inputs are numbers that bfloat16 can hold, so that in bfloat16 only what is computed from them is rounded.
    """
    generator = torch.Generator().manual_seed(0)
    lengths = [1, 1, 2, 3, 5, 8, 13, 40, 70, 100]
    batch = pack_histories([torch.randint(300, (n,), generator=generator).tolist() for n in lengths])
    segments, there = Segments.of(batch), batch.to(job.device)
    width, tokens = job.config.width, len(batch.items)
    found: dict[str, float] = {}

    def compare(what: str, run: Callable[[PackedBatch, To], list[Tensor]]) -> None:
        expected, got = run(batch, lambda x: x), run(there, lambda x: x.to(job.device))
        pairs = [(a.double(), b.cpu().double()) for a, b in zip(expected, got, strict=True)]
        found[what] = max(float((a - b).norm() / a.norm()) for a, b in pairs)

    def draw(columns: int) -> Tensor:
        return torch.randn(tokens, columns, generator=generator).bfloat16().float()

    query, key_value = draw(width), draw(2 * width)
    # without noise, whose streams differ between devices
    quiet = replace(job.config, dropout=0.0, item_dropout=0.0, delta=0.0)

    def attend(on: PackedBatch, to: To, *, precision: Precision, one_each: bool) -> list[Tensor]:
        low = torch.bfloat16 if precision == "bfloat16" and on is there else torch.float32
        asking = query[segments.last] if one_each else query
        q, kv = to(asking).to(low).requires_grad_(), to(key_value).to(low).requires_grad_()
        out = attention(q, kv, Segments.of(on), job.config.heads)
        return [out.detach(), *torch.autograd.grad(out.float().square().sum(), [q, kv])]

    def loss(on: PackedBatch, to: To, *, precision: Precision) -> list[Tensor]:
        x, items = to(query / 4).requires_grad_(), to(key_value[:, :width] / 4).requires_grad_()
        with lowered(on.items.device, precision if on is there else "float32"):
            value = catalogue_cross_entropy(x, items, on.items % tokens)
        return [value.detach(), *torch.autograd.grad(value, [x, items])]

    def learn(on: PackedBatch, _: To, *, precision: Precision, name: str) -> list[Tensor]:
        model = build_model(name, 300, quiet, derive_generator(0, "weights"))
        for weight in model.parameters():
            weight.data = weight.data.bfloat16().float()
        model.to(on.items.device)
        with lowered(on.items.device, precision if on is there else "float32"):
            value = model.loss(on, derive_generator(0, "noise", on.items.device))
        value.backward()
        return [value.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])]

    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        compare(f"attention {precision}", partial(attend, precision=precision, one_each=False))
        compare(f"attention {precision}, one query", partial(attend, precision=precision, one_each=True))
        compare(f"loss {precision}", partial(loss, precision=precision))
        for name in MODELS:
            compare(f"{name} {precision}", partial(learn, precision=precision, name=name))
    return found


def check_waiting(job: Job) -> str:
    """Run training steps in the mode in which every wait of the host for the device is an error."""
    if job.device.type != "cuda":
        return "no CUDA device"
    data = job.study(job.datasets[0])
    _, step = _stepper(job, data, "diffurecsys")
    batches = list(job.batches(data, 4))
    step(batches[0])
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches[1:]:
            step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "no waiting"


def measure_limits(job: Job) -> dict[str, float]:
    """Rates of matrix products of the model's shapes and of a large square, and of copying."""
    rows = 64 * job.batch_size
    return {
        "matmul_tflops": matmul_flops(job.device, rows, job.config.width) / 1e12,
        "matmul_tflops_wide": matmul_flops(job.device, 8 * job.batch_size, 32 * job.config.width) / 1e12,
        "memory_terabytes_per_second": memory_bandwidth(job.device) / 1e12,
    }


def measure_training(job: Job) -> dict[str, Any]:
    """Training of every model on every dataset, batching included; seconds for the paper's epochs follow."""
    found = {}
    for dataset in job.datasets:
        data = job.study(dataset)
        n_examples = data.split.train.n_targets
        limit = matmul_flops(job.device, 64 * job.batch_size, job.config.width)
        for name in MODELS:
            _, step = _stepper(job, data, name)
            for batch in job.batches(data, 3):
                step(batch)
            flops, tokens = 0.0, 0
            synchronise(job.device)
            began = time.perf_counter()
            for batch in job.batches(data, job.steps):
                step(batch)
                flops += 3 * forward_flops(name, job.config, batch, data.store.n_items)
                tokens += len(batch.items)
            synchronise(job.device)
            seconds = (time.perf_counter() - began) / job.steps
            found[f"{dataset} {name}"] = {
                "milliseconds_per_step": 1000 * seconds,
                "tokens_per_second": tokens / job.steps / seconds,
                "tflops": flops / job.steps / seconds / 1e12,
                "share_of_matmul_limit": flops / job.steps / seconds / limit,
                f"seconds_for_{EPOCHS}_epochs": EPOCHS * n_examples / job.batch_size * seconds,
            }
    return found


def measure_evaluation(job: Job) -> dict[str, float]:
    """Users scored a second by reverse steps."""
    data = job.study(job.datasets[0])
    store, test = data.store, data.split.test
    order = torch.argsort(test.lengths, stable=True)[:: max(1, len(test) // (20 * job.batch_size))]
    batches = [batch for batch, _ in Packer(store, test, job.device).batches(order, job.batch_size)]
    found = {}
    for name in MODELS:
        model = build_model(name, store.n_items, job.config, derive_generator(0, "weights")).to(job.device).eval()
        noise = derive_generator(0, "noise", job.device)
        for steps in (1, 32):

            def score(model: Any = model, noise: Any = noise, steps: int = steps) -> None:
                with torch.inference_mode(), autocast(job.device, "auto"):
                    for batch in batches:
                        model.score(batch, noise, steps)

            found[f"{name} {steps} steps"] = len(order) / _best_of(score, job.device, 2)
    return found


def measure_compiled(job: Job) -> dict[str, float] | str:
    """Milliseconds of a step as it is and with the denoiser compiled for any number of tokens, in turn."""
    if job.device.type != "cuda":
        return "no CUDA device"
    data = job.study(job.datasets[0])
    _, plain = _stepper(job, data, "diffurec")
    other, compiled = _stepper(job, data, "diffurec")
    other.denoiser.compile(dynamic=True)
    batches = list(job.batches(data, 12))
    began = time.perf_counter()
    for batch in batches[:4]:
        compiled(batch)
        plain(batch)
    synchronise(job.device)
    found = {"seconds_to_compile": time.perf_counter() - began}
    times: dict[str, list[float]] = {"plain": [], "compiled": []}
    for batch in batches[4:]:
        for what, step in (("plain", plain), ("compiled", compiled)):
            times[what].append(_best_of(lambda step=step, batch=batch: step(batch), job.device, 1))
    return found | {f"milliseconds_{what}": 1000 * median(taken) for what, taken in times.items()}


def measure_large_catalogue(job: Job) -> dict[str, float]:
    """Seconds and peak memory of a step with very many items, with the full and with a sampled softmax."""
    found = {}
    drawn = torch.randint(job.large_items, (job.batch_size, 9), generator=derive_generator(0, "data"))
    batch = pack_histories(drawn.tolist()).to(job.device)
    for what, count in (("full", None), ("sampled", 8192)):
        if job.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        config = replace(job.config, negatives=count)
        model = build_model("diffurec", job.large_items, config, derive_generator(0, "weights")).to(job.device)
        noise = derive_generator(0, "noise", job.device)
        step = stepper(model, lambda b, m=model, n=noise: [m.loss(b, n)], job.device)
        step(batch)
        found[f"{what}: seconds"] = _best_of(lambda step=step: step(batch), job.device, 3)
        found[f"{what}: gigabytes"] = peak_memory(job.device) / 1e9
        del model, step
    return found


def measure_cells_at_once(job: Job, arguments: list[str]) -> dict[str, float]:
    """Steps a second of all cells together, trained by so many processes at the same time."""
    found = {}
    for count in PROCESSES if job.device.type == "cuda" else PROCESSES[:2]:
        command = [sys.executable, __file__, "cell", *arguments]
        cells = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        try:
            outputs = [cell.communicate(timeout=240)[0] for cell in cells]
        finally:
            for cell in cells:
                cell.kill()  # does nothing to those that have ended
        if any(cell.returncode for cell in cells):
            raise RuntimeError(f"a cell ended with {[cell.returncode for cell in cells]}")
        found[f"{count} at once"] = sum(float(output.splitlines()[-1]) for output in outputs)
    return found


def cell(job: Job) -> None:
    """Train for a while and print the steps a second: one of several processes."""
    data = job.study(job.datasets[0])
    _, step = _stepper(job, data, "diffurecsys")
    for batch in job.batches(data, 20):
        step(batch)
    synchronise(job.device)
    done, began = 0, time.perf_counter()
    limit = 8.0 if job.device.type == "cuda" else 1.0
    while time.perf_counter() - began < limit:
        for batch in job.batches(data, 10):
            step(batch)
            done += 1
        synchronise(job.device)
    print(done / (time.perf_counter() - began))


def compare_precisions(job: Job) -> dict[str, Any]:
    """Validation metrics after training in float32 and in bfloat16, with the same and with another seed."""
    found = {}
    data = job.study(job.datasets[0])
    runs: tuple[tuple[Precision, int], ...] = (("float32", 0), ("bfloat16", 0), ("float32", 1), ("bfloat16", 1))
    for precision, seed in runs:
        model = build_model("diffurec", data.store.n_items, job.config, derive_generator(seed, "weights"))
        config = TrainingConfig(
            epochs=job.epochs, batch_size=job.batch_size, precision=precision, patience=None, device=str(job.device)
        )
        began = time.perf_counter()
        result = train(model, data, config, seed=seed)
        found[f"{precision}, seed {seed}"] = {
            "validation": result.history[result.best_epoch - 1].validation,
            "training_seconds": result.seconds,
            "seconds_with_validation": time.perf_counter() - began,
        }
    return found


def profile_step(job: Job) -> list[dict[str, Any]]:
    """Kernels of a training step by time."""
    from torch.profiler import ProfilerActivity, profile

    data = job.study(job.datasets[-1])
    _, step = _stepper(job, data, "diffurec")
    batches = list(job.batches(data, 6))
    for batch in batches[:3]:
        step(batch)
    cuda = job.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda) as found:
        for batch in batches[3:]:
            step(batch)
        synchronise(job.device)
    clock = "self_device_time_total" if cuda else "self_cpu_time_total"
    rows = sorted(found.key_averages(), key=lambda row: -getattr(row, clock))[:25]
    return [{"name": r.key[:80], "calls": r.count / 3, "milliseconds": getattr(r, clock) / 3000} for r in rows]


def check(job: Job, arguments: list[str], deadline: float) -> dict[str, Any]:
    """Run all parts until the deadline; the most important come first."""
    F.linear(torch.ones(1, 1, device=job.device), torch.ones(1, 1, device=job.device))  # starts the device
    parts: dict[str, Callable[[], Any]] = {
        "difference_from_the_host": lambda: check_against_the_host(job),
        "waiting": lambda: check_waiting(job),
        "limits": lambda: measure_limits(job),
        "training": lambda: measure_training(job),
        "evaluation_users_per_second": lambda: measure_evaluation(job),
        "cells_at_once_steps_per_second": lambda: measure_cells_at_once(job, arguments),
        "large_catalogue": lambda: measure_large_catalogue(job),
        "profile": lambda: profile_step(job),
        "precisions": lambda: compare_precisions(job),
        "compiled": lambda: measure_compiled(job),
    }
    result: dict[str, Any] = {"machine": describe_machine(job.device)}
    for name, part in parts.items():
        if time.perf_counter() > deadline:
            result[name] = "left out: no time"
            continue
        began = time.perf_counter()
        try:
            result[name] = part()
        except Exception:  # one part's failure must not cost the others
            result[name] = {"failed": traceback.format_exc()}
        print(f"{name}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
    return result


def _stepper(job: Job, data: StudyData, name: str) -> tuple[Any, Callable[[PackedBatch], None]]:
    model = build_model(name, data.store.n_items, job.config, derive_generator(0, "weights")).to(job.device)
    noise = derive_generator(0, "noise", job.device)
    return model, stepper(model, lambda batch: [model.loss(batch, noise)], job.device)


def _best_of(run: Callable[[], Any], device: torch.device, times: int) -> float:
    taken = []
    for _ in range(times):
        synchronise(device)
        began = time.perf_counter()
        run()
        synchronise(device)
        taken.append(time.perf_counter() - began)
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("check", "cell"))
    parser.add_argument("datasets", nargs="*", help="to check; default: all in the folder")
    parser.add_argument("--data", type=Path, default=Path("data/gpu"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--minutes", type=float, default=8, help="no part begins later than this")
    parser.add_argument("--small", action="store_true", help="a tiny network and few steps, to try the script itself")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    began = time.perf_counter()
    datasets = tuple(args.datasets) or tuple(sorted(path.stem for path in args.data.glob("*.npz")))
    if not datasets:
        sys.exit(f"no datasets in {args.data}; copy data/05_model_input/beauty/split.npz to {args.data}/beauty.npz")
    config, sizes = DiffuRecConfig(), {"length": 100, "batch_size": 1024, "steps": 100, "epochs": 15}
    items = 1_000_000
    if args.small:
        config = DiffuRecConfig(width=32, blocks=2, heads=2)
        sizes, items = {"length": 20, "batch_size": 32, "steps": 2, "epochs": 1}, 2000
    job = Job(resolve_device(args.device), args.data, datasets, config, large_items=items, **sizes)
    if args.what == "cell":
        if job.device.type == "cpu":
            torch.set_num_threads(1)  # more threads than cores wait for each other
        cell(job)
        return
    arguments = [*datasets, "--data", str(args.data), "--device", args.device] + ["--small"] * args.small
    os.environ.setdefault("PYTHONPATH", os.pathsep.join(sys.path))
    result = check(job, arguments, began + 60 * args.minutes)
    write_json(args.out, {"command": f"python benchmarks/gpu_check.py check {' '.join(datasets)}", **result})


if __name__ == "__main__":
    main()
