"""How training steps grow with each size of the problem: time and peak memory, fitted exponents, a plot.

Every point is measured in a process of its own, on random histories. A size changes, the others stay: 512 examples a
step, histories of 9 items, 12,000 items, width 128.

python benchmarks/growth.py --out docs/results/growth.json --plot docs/results/growth.png
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from common import build_model, describe_machine, peak_memory, synchronise, write_json
from diffurecsys.data.packing import Packer
from diffurecsys.data.store import Examples, SequenceStore
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.reporting.style import INK, line_style, marker, style_panel
from diffurecsys.training import derive_generator
from diffurecsys.training.device import keep_freed_memory, resolve_device
from training_throughput import stepper


@dataclass(frozen=True)
class Point:
    """One problem."""

    examples: int = 512  # an epoch; steps of 512
    length: int = 9
    items: int = 12_000
    width: int = 128
    negatives: int = 0  # 0: the full softmax
    batch_size: int = 512


AXES: dict[str, tuple[str, list[Point]]] = {
    "examples an epoch": ("examples", [Point(examples=n) for n in (512, 2048, 8192, 32_768)]),
    "history length": ("length", [Point(length=n, examples=64, batch_size=64) for n in (10, 32, 100, 320, 1000)]),
    "items, full softmax": ("items", [Point(items=n) for n in (1_000, 10_000, 100_000, 1_000_000)]),
    "items, 8,192 sampled": ("items", [Point(items=n, negatives=8192) for n in (1_000, 10_000, 100_000, 1_000_000)]),
    "width": ("width", [Point(width=n) for n in (32, 64, 128, 256, 512)]),
}
SECONDS = {"examples": "seconds an epoch", "length": "seconds a step of 64"}


def random_store(point: Point) -> tuple[SequenceStore, Examples]:
    """One user an example, all of one length."""
    span = point.length + 1
    items = torch.randint(
        point.items, (point.examples * span,), generator=derive_generator(0, "data"), dtype=torch.int32
    )
    starts = torch.arange(point.examples) * span
    offsets = torch.arange(point.examples + 1) * span
    return SequenceStore(items, offsets, point.items), Examples(starts, starts + point.length)


def work(point: Point, device: torch.device) -> dict[str, float]:
    """Measure one point; memory without what was there before the data."""
    before = 0 if device.type == "cuda" else peak_memory(device)
    store, examples = random_store(point)
    packer = Packer(store, examples, device)
    config = DiffuRecConfig(width=point.width, negatives=point.negatives or None)
    model = build_model("diffurec", point.items, config, derive_generator(0, "weights"))
    model.to(device)
    noise = derive_generator(0, "noise", device)
    step = stepper(model, lambda batch: [model.loss(batch, noise)], device)

    def epoch() -> float:
        order = torch.randperm(point.examples, generator=derive_generator(0, "shuffle"))
        synchronise(device)
        began = time.perf_counter()
        for batch, _ in packer.batches(order, point.batch_size):
            step(batch)
        synchronise(device)
        return time.perf_counter() - began

    times = [epoch()]
    times = [epoch() for _ in range(2 if times[0] > 5 else 5)]
    return {"seconds": median(times), "peak_memory_bytes": peak_memory(device) - before}


def measure(point: Point, device: str) -> dict[str, Any]:
    """Measure one point in a new process."""
    command = [sys.executable, __file__, "--device", device, "--point", json.dumps(asdict(point))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {**asdict(point), **json.loads(done.stdout)}


def exponents(sizes: list[int], values: list[float]) -> dict[str, float]:
    """Fit value ~ size^b: b over all points, and between the last two, where fixed costs matter least."""
    x, y = np.log(sizes), np.log(values)
    return {"all": float(np.polyfit(x, y, 1)[0]), "last two": float((y[-1] - y[-2]) / (x[-1] - x[-2]))}


def draw(result: dict[str, Any], path: Path) -> None:
    """Plot time and memory over every size, both axes logarithmic, with the exponent between the last two sizes."""
    figure = Figure(figsize=(14, 6.4), layout="constrained")
    panels = figure.subplots(2, 4)
    by_field: dict[str, list[str]] = {}
    for axis, (field, _) in AXES.items():
        by_field.setdefault(field, []).append(axis)
    for column, (field, axes) in enumerate(by_field.items()):
        for row, (quantity, unit) in enumerate((("seconds", 1.0), ("peak_memory_bytes", 2.0**30))):
            panel = panels[row, column]
            titles, seen = [], []
            for number, axis in enumerate(axes):
                found = result["axes"][axis]
                sizes = [point[field] for point in found["points"]]
                values = [point[quantity] / unit for point in found["points"]]
                seen += values
                label = axis.split(", ")[-1]
                panel.loglog(sizes, values, marker=marker(number), label=label, **line_style(number))
                titles.append(f"{found['exponents'][quantity]['last two']:.2f}")
            panel.set_title(f"exponent at the end: {' and '.join(titles)}", color=INK, fontsize=10)
            panel.set_xlabel(axes[0].split(", ")[0])
            panel.set_ylabel(SECONDS.get(field, "seconds a step of 512") if quantity == "seconds" else "GiB")
            panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
            panel.xaxis.set_minor_locator(NullLocator())
            middle = (min(seen) * max(seen)) ** 0.5
            panel.set_ylim(min(*seen, middle / 10) / 1.5, max(*seen, middle * 10) * 1.5)
            panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            panel.yaxis.set_minor_locator(NullLocator())
            style_panel(panel, grid="y")
            if len(axes) > 1:
                panel.legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--point", help="measure this one alone (JSON) and print it")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--draw", type=Path, help="measure nothing, plot what this JSON holds")
    args = parser.parse_args()
    if args.point:
        keep_freed_memory()
        print(json.dumps(work(replace(Point(), **json.loads(args.point)), resolve_device(args.device))))
        return
    if args.draw:
        draw(json.loads(args.draw.read_text()), args.plot or args.draw.with_suffix(".png"))
        return
    axes = {}
    for axis, (field, points) in AXES.items():
        found = [measure(point, args.device) for point in points]
        sizes = [point[field] for point in found]
        axes[axis] = {
            "points": found,
            "exponents": {
                quantity: exponents(sizes, [point[quantity] for point in found])
                for quantity in ("seconds", "peak_memory_bytes")
            },
        }
        print(axis, json.dumps(axes[axis]["exponents"]), file=sys.stderr)
    result = {
        "command": "python benchmarks/growth.py",
        "machine": describe_machine(resolve_device(args.device)),
        "axes": axes,
    }
    write_json(args.out, result)
    if args.plot:
        draw(result, args.plot)


if __name__ == "__main__":
    main()
