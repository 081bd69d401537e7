"""What fewer reverse steps lose, with both samplers: users ranked by trained models of one experiment.

python benchmarks/reverse_steps.py --experiment beauty-small --length 50 data/06_models/beauty-small/*/*/*.safetensors
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import MODELS, describe_machine, load_data, write_json
from diffurecsys.diffusion.samplers import Sampler
from diffurecsys.evaluation.inference import choose_users
from diffurecsys.evaluation.metrics import ndcg
from diffurecsys.evaluation.ranks import rank_targets
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.models.reverse import ReverseConfig
from diffurecsys.models.weights import RankerWeights, load_weights
from diffurecsys.training import derive_generator
from diffurecsys.training.device import keep_freed_memory, resolve_device

SAMPLERS: tuple[Sampler, ...] = ("ddpm", "ddim")


def name_of(weights: RankerWeights) -> str:
    """Name the paper's model of this configuration, or the family."""
    config = weights.config
    if not isinstance(config, DiffuRecConfig):
        return weights.family
    (name,) = [
        name
        for name, changes in MODELS.items()
        if (config.conditioning, config.offset_noise)
        == (changes.get("conditioning", "add"), changes.get("offset_noise", False))
    ]
    return f"{name}, delta {config.delta:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", type=Path, help="weights of the models; seeds of one model are averaged")
    parser.add_argument("--experiment", default="beauty")
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--users", type=int, default=6000)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--targets", choices=("validation", "test"), default="test")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    keep_freed_memory()
    data, device = load_data(args.experiment, args.length), resolve_device(args.device)
    asked = getattr(data.split, args.targets)
    users = asked[choose_users(len(asked), args.users, seed=0)]

    def gains(weights: RankerWeights, sampler: Sampler, steps: int, seed: int) -> NDArray[np.float64]:
        assert isinstance(weights.config, ReverseConfig)
        model = replace(weights, config=replace(weights.config, sampler=sampler)).build(device)
        found = rank_targets(
            lambda batch, generator: model.score(batch, generator, steps),
            data,
            users,
            generator=derive_generator(seed, f"{sampler} {steps}", device),
            device=device,
        )
        return ndcg(found.greater, found.tied, 10)

    models: dict[str, list[RankerWeights]] = defaultdict(list)
    for path in args.weights:
        weights = load_weights(path)
        models[name_of(weights)].append(weights)
    results: list[dict[str, Any]] = []
    for name, seeds in models.items():
        full = max(args.steps)
        reference = None
        for sampler in SAMPLERS:
            for steps in sorted(args.steps, reverse=True):
                gain = np.mean([gains(weights, sampler, steps, seed) for seed, weights in enumerate(seeds)], axis=0)
                reference = gain if reference is None else reference
                difference = gain - reference
                results.append(
                    {
                        "model": name,
                        "seeds": len(seeds),
                        "sampler": sampler,
                        "steps": steps,
                        "NDCG@10": gain.mean(),
                        f"less ddpm {full}": difference.mean(),
                        "95 % interval": 1.96 * difference.std(ddof=1) / len(difference) ** 0.5,
                    }
                )
                print(json.dumps(results[-1]), flush=True)
    write_json(
        args.out,
        {
            "command": f"python benchmarks/reverse_steps.py --experiment {args.experiment} --length {args.length} "
            f"--users {args.users} --targets {args.targets} ({len(args.weights)} weights)",
            "machine": describe_machine(device),
            "experiment": args.experiment,
            "targets": args.targets,
            "users": len(users),
            "results": results,
        },
    )


if __name__ == "__main__":
    main()
