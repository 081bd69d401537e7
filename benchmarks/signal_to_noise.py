"""How much of the target stands in what diffusion shows the network, step by step: power over that of the noise.

At an rms of 1, as `target_scale: unit` has it, and of .1, about that of trained item embeddings. Below `told_apart` a
target cannot be told from all other items by what it looks like (the capacity of a Gaussian channel).

python benchmarks/signal_to_noise.py --out docs/results/signal_to_noise.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import write_json
from diffurecsys.diffusion import GaussianDiffusion, make_betas, signal_to_noise, told_apart

WIDTHS = (64, 128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedule", default="truncated_linear")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--items", type=int, default=12_101, help="of the catalogue; default: Amazon Beauty's")
    parser.add_argument("--rms", type=float, nargs="+", default=[1.0, 0.1])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    process = GaussianDiffusion(make_betas(args.schedule, args.steps))
    found = {f"{rms:g}": signal_to_noise(process.alpha_bar, rms).tolist() for rms in args.rms}
    least = {f"width_{width}": told_apart(width, args.items) for width in WIDTHS}
    settings = {"schedule": args.schedule, "steps": args.steps, "items": args.items}
    write_json(
        args.out,
        {"command": "python benchmarks/signal_to_noise.py", **settings, "by_rms": found, "told_apart": least},
    )


if __name__ == "__main__":
    main()
