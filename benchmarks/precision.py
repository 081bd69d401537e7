"""What products in bfloat16 gain on this processor, part by part and a step, and what they cost in accuracy.

A step's share is the arithmetic of its matrix products, as PyTorch counts it in float32, in the time taken, over what
products of this processor reach in that precision. PyTorch does not see into recurrent layers: theirs are not counted.

    python benchmarks/precision.py split.npz cells.json --parts --steps sasrec bsarec --accuracy sasrec --seeds 3

Both files are written by `kedro run --pipeline=export`. Parts and steps are taken in turn in both precisions,
and timed by the process's own clock. Accuracy: the cells named are trained whole in both precisions, seed by seed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from common import describe_machine, write_json
from diffurecsys.data.split import StudyData, load_split
from diffurecsys.evaluation.metrics import metrics_from_ranks
from diffurecsys.layers.feed_forward import FeedForward
from diffurecsys.layers.products import Linear
from diffurecsys.losses.cross_entropy import blocked_cross_entropy
from diffurecsys.losses.sampled import sampled_cross_entropy
from diffurecsys.remote import read_cell
from diffurecsys.study import Cell
from diffurecsys.training.config import Precision
from diffurecsys.training.device import in_precision, keep_freed_memory
from diffurecsys.training.fit import fit_cell, rank_cell

CPU = torch.device("cpu")
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


class EnoughError(Exception):
    """Enough steps were timed."""


def parts(rows: int, n_items: int) -> Iterator[tuple[str, Callable[[], Tensor], list[Tensor]]]:
    """Yield what steps consist of: a name, what gives a number to differentiate, and by what."""
    for width in (64, 128):
        x = (torch.randn(rows, width) * 0.3).requires_grad_()
        items = (torch.randn(n_items, width) * 0.3).requires_grad_()
        targets, drawn = torch.randint(n_items, (rows,)), torch.randint(n_items, (1024,))
        yield (
            f"loss over {n_items:,} items, width {width}",
            lambda x=x, items=items, targets=targets: blocked_cross_entropy(x, items, targets),
            [x, items],
        )
        yield (
            f"loss over 1,024 sampled items, width {width}",
            lambda x=x, items=items, targets=targets, drawn=drawn: sampled_cross_entropy(
                x, items, targets, drawn, torch.zeros(1024)
            ),
            [x, items],
        )
        projection, layer = Linear(width, 3 * width), FeedForward(width, 0.1)
        noise = torch.Generator().manual_seed(0)
        yield f"linear map {width} to {3 * width}", lambda x=x, p=projection: p(x).sum(), [x, *projection.parameters()]
        yield (
            f"feed-forward {width}, {4 * width}",
            lambda x=x, layer=layer, noise=noise: layer(x, noise).sum(),
            [x, *layer.parameters()],
        )


def time_part(value: Callable[[], Tensor], by: list[Tensor], rounds: int) -> dict[str, Any]:
    """Return milliseconds of the value and its gradient in both precisions, and how far the gradients lie apart."""
    seconds: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    gradients: dict[str, list[Tensor]] = {}
    for _ in range(rounds + 1):
        for precision in PRECISIONS:
            began = time.process_time()
            with in_precision(CPU, precision):
                loss = value()
            gradients[precision] = list(torch.autograd.grad(loss, by))
            seconds[precision].append(time.process_time() - began)
    exact, near = (torch.cat([g.flatten() for g in gradients[p]]) for p in PRECISIONS)
    return summary({p: times[1:] for p, times in seconds.items()}) | {
        "gradient_error": float((near - exact).norm() / exact.norm())
    }


def matmul_limit(precision: Precision) -> float:
    """Rate of `[1024, 1024] @ [1024, 1024]` products in FLOP/s, the best of ten."""
    a = torch.randn(1024, 1024, dtype=getattr(torch, precision))
    best = float("inf")
    for _ in range(10):
        began = time.process_time()
        a @ a
        best = min(best, time.process_time() - began)
    return 2 * 1024**3 / best


def in_place(*shapes: torch.Size, out_shape: torch.Size | None = None, **_: object) -> int:
    """Count `addmm_`, which PyTorch's counter does not know: what it counts for `addmm`."""
    _, a, b = shapes[:3]
    return int(2 * a[0] * a[1] * b[1])


def summary(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Medians in milliseconds, and how many times as fast bfloat16 is."""
    middle = {precision: 1e3 * median(times) for precision, times in seconds.items()}
    return {"milliseconds": middle, "times_as_fast": middle["float32"] / middle["bfloat16"]}


def in_both(cell: Cell) -> dict[Precision, Cell]:
    """Return the cell once for each precision."""
    spec = cell.spec
    return {p: replace(cell, spec=replace(spec, training=replace(spec.training, precision=p))) for p in PRECISIONS}


def time_steps(cell: Cell, data: StudyData, count: int, rounds: int) -> dict[str, Any]:
    """Return milliseconds of a training step, the first of an epoch again and again, and its shares of the limits."""
    seconds: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    limits: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for number in range(rounds + 1):  # the first round meets shapes that libraries compile for
        for precision, own in in_both(cell).items():
            stamps: list[float] = []

            def on_step(_: object, stamps: list[float] = stamps) -> None:
                stamps.append(time.process_time())
                if len(stamps) > count:
                    raise EnoughError

            with suppress(EnoughError):
                fit_cell(own, data, on_step=on_step)
            if number:
                seconds[precision] += [after - before for before, after in pairwise(stamps)]
                limits[precision].append(matmul_limit(precision))
    products = count_products(in_both(cell)["float32"], data, count) / count
    found = summary(seconds) | {"products_gflop": products / 1e9}
    found["limit_gflops"] = {p: median(values) / 1e9 for p, values in limits.items()}
    found["share_of_limit"] = {p: products / mean(seconds[p]) / median(limits[p]) for p in PRECISIONS}
    return found


def count_products(cell: Cell, data: StudyData, count: int) -> int:
    """Return the arithmetic of the steps that are timed: from the end of the first to the end of as many more."""
    counter, seen = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: in_place}), 0

    def on_step(_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            counter.__enter__()
        if seen > count:
            counter.__exit__(None, None, None)
            raise EnoughError

    with suppress(EnoughError):
        fit_cell(cell, data, on_step=on_step)
    return int(counter.get_total_flops())


def accuracy(cells: list[Cell], data: StudyData, precisions: Sequence[Precision]) -> dict[str, Any]:
    """Train the cells whole; return metrics of both targets, CPU seconds, and the mean difference of two precisions."""
    rows = []
    for cell in cells:
        for precision in precisions:
            own = in_both(cell)[precision]
            began = time.process_time()
            fitted = fit_cell(own, data)
            seconds = time.process_time() - began
            ranks = rank_cell(fitted.weights, data, seed=cell.seed)
            row = {
                "seed": cell.seed,
                "precision": precision,
                "cpu_seconds_with_validation": seconds,
                "epochs": fitted.record["epochs"],
                "best_epoch": fitted.record["best_epoch"],
                **{
                    part: {name: metrics_from_ranks(ranks[part])[name] for name in ("HR@10", "NDCG@10")}
                    for part in ("validation", "test")
                },
            }
            print(json.dumps(row), flush=True)
            rows.append(row)
    by = {p: [row["test"]["NDCG@10"] for row in rows if row["precision"] == p] for p in precisions}
    found: dict[str, Any] = {"cells": rows, "test_NDCG@10": {p: mean(values) for p, values in by.items()}}
    if len(cells) > 1:
        found["standard_deviation_over_seeds"] = {p: stdev(values) for p, values in by.items()}
    if len(precisions) > 1:
        differences = [near - exact for exact, near in zip(*(by[p] for p in PRECISIONS), strict=True)]
        found["difference"] = mean(differences)
        if len(cells) > 1:
            found["standard_error_of_difference"] = stdev(differences) / math.sqrt(len(differences))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path)
    parser.add_argument("cells", type=Path)
    parser.add_argument("--parts", action="store_true", help="time what steps consist of")
    parser.add_argument("--rows", type=int, default=900, help="of the parts: positions a step asks at")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", nargs="*", default=[], help="rankers of cells.json whose training steps are timed")
    parser.add_argument("--accuracy", help="a ranker of cells.json that is trained whole, in both precisions")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="of --accuracy")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    data = load_split(args.split)
    cells = {entry["name"]: read_cell(entry) for entry in json.loads(args.cells.read_text())}
    result: dict[str, Any] = {"machine": describe_machine(CPU), "threads": 1, "clock": "seconds of the process"}
    if args.parts:
        result["parts"] = {
            name: time_part(value, by, args.rounds) for name, value, by in parts(args.rows, data.store.n_items)
        }
    result["steps"] = {name: time_steps(cells[name], data, 12, 3) for name in args.steps}
    if args.accuracy:
        seeds = [replace(cells[args.accuracy], seed=seed) for seed in range(args.seeds)]
        result["accuracy"] = {"ranker": args.accuracy, **accuracy(seeds, data, args.precisions)}
    write_json(args.out, result)


if __name__ == "__main__":
    main()
