"""What could make a visible noised target help `diffurec`: repairs tried one by one, on validation targets alone.

The half-size network of `conf/beauty-diffusion`, targets at the scale of the noise (`target_scale: unit`). Tried: item
table and predictions of unit length with a temperature (cosine logits), a learnt scale of the targets, noise that
always hides most of the target, steps drawn by the noise that they have, the loss on the marginal over several draws,
and a chain that goes on from the embedding that is expected instead of what the network said. None of it is in the
family. What they are compared with, the network as it is and without a noised target, are that study's cells.

kedro run --pipelines=ingestion,preprocessing,export --env=beauty-diffusion
python benchmarks/diffusion_repairs.py --out docs/results/diffusion_repairs_beauty.json [--only LABEL ...]

A finished trial is not made again; one that was killed goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common import PROJECT, describe_machine, write_json
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData, load_split
from diffurecsys.diffusion import GaussianDiffusion, make_betas, to_scale, unit_rms, with_least_noise
from diffurecsys.evaluation.metrics import hit_rate, ndcg
from diffurecsys.evaluation.ranks import rank_targets
from diffurecsys.layers.segments import Segments
from diffurecsys.layers.similarity import Similarity, asked_vectors, offered_vectors
from diffurecsys.losses.cross_entropy import catalogue_cross_entropy
from diffurecsys.losses.marginal import marginal_cross_entropy
from diffurecsys.models.base import Scorer
from diffurecsys.models.families.diffurec import DiffuRec, DiffuRecConfig
from diffurecsys.models.reverse import walk_back
from diffurecsys.training import derive_generator
from diffurecsys.training.config import TrainingConfig
from diffurecsys.training.device import keep_freed_memory
from diffurecsys.training.trainer import train

NETWORK: dict[str, Any] = {"width": 64, "blocks": 2, "heads": 2, "target_scale": "unit", "delta": 0.1}
TRAINING: dict[str, Any] = {
    "scheme": "prefix",
    "epochs": 24,
    "batch_size": 512,
    "learning_rate": 0.002,
    "weight_decay": 0.0001,
    "lr_schedule": "step",
    "lr_decay_epoch": 20,
    "validate_every": 2,
    "patience": 10,
}
TRIALS: dict[str, dict[str, Any]] = {
    "cosine": {"similarity": "cosine"},
    "cosine_without_target": {"similarity": "cosine", "delta": 0},
    "least_noise": {"least_noise": 0.8},
    "learnt_scale": {"learnt_scale": True},
    "cosine_least_noise": {"similarity": "cosine", "least_noise": 0.8},
    "noisy_steps": {"noise_power": 8.0},
    "marginal": {"marginal_samples": 2},
}
WALKS = [(1, False), (32, False), (8, True)]  # steps; whether by the expected embedding


@dataclass(frozen=True)
class RepairedConfig(DiffuRecConfig):
    """The repairs beside the family's settings.

    Attributes:
        similarity: of predictions and items.
        temperature: of `cosine`.
        learnt_scale: targets of unit rms times a learnt number, begun at 1.
        least_noise: noise variance that every step has at least.
        noise_power: steps are drawn in proportion to their noise's variance to this power.
        marginal_samples: draws of the noise over which the loss takes the mean probability.
    """

    similarity: Similarity = "dot"
    temperature: float = 0.06
    learnt_scale: bool = False
    least_noise: float = 0.0
    noise_power: float = 0.0
    marginal_samples: int = 1


class Repaired(DiffuRec):
    """`diffurec` with the repairs."""

    config: RepairedConfig
    step_weight: Tensor
    by_expected = False  # what the chain goes on from

    def __init__(self, config: RepairedConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        betas = make_betas(config.schedule, config.diffusion_steps)
        self.process = GaussianDiffusion(with_least_noise(betas, config.least_noise))
        step_weight = (1 - self.process.alpha_bar).pow(config.noise_power).float()
        self.register_buffer("step_weight", step_weight, persistent=False)
        self.log_scale = nn.Parameter(torch.zeros(())) if config.learnt_scale else None

    def loss(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Cross-entropy at one step, of one draw or of the mean probability over several."""
        segments = Segments.of(batch)
        history = self.embed_history(batch.items, generator, segments)
        x_0 = self._scaled(self.embedding(batch.targets))
        step = torch.multinomial(self.step_weight, len(batch), replacement=True, generator=generator)
        said = []
        for _ in range(self.config.marginal_samples if self.config.delta > 0 else 1):
            x_s = self.process.diffuse(x_0, step, self._training_noise(x_0, generator))
            noised = self._noised_target(x_s, step, segments, generator)
            said.append(self._compared(self.denoiser(history, noised, segments, generator)))
        if len(said) == 1:
            return catalogue_cross_entropy(said[0], self.items(), batch.targets)
        return marginal_cross_entropy(torch.stack(said), self.items(), batch.targets)

    def items(self) -> Tensor:
        """Represent every item: its embedding, of unit length for cosines."""
        return offered_vectors(self.embedding.weight, self.config.similarity)

    def users(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Walk back, and say what the last prediction was."""
        process = self.process.strided(steps or len(self.process))
        segments = Segments.of(batch)
        history = said = self.embed_history(batch.items, generator, segments)
        if self.config.delta == 0:
            return self._compared(self.denoiser(history, None, segments, generator)).float()
        prepared = self.denoiser.prepare(history)

        def noise() -> Tensor:
            return torch.randn((len(batch), self.config.width), generator=generator)

        def denoise(x_s: Tensor, step: int) -> Tensor:
            nonlocal said
            noised = self._noised_target(x_s, torch.full((1,), step), segments, generator)
            said = self.denoiser(history, noised, segments, generator, prepared=prepared).float()
            if not self.by_expected:
                return self._scaled(said)
            share = (self._compared(said) @ self.item_vectors().T).softmax(dim=1)
            return share @ self._scaled(self.embedding.weight)

        walk_back(self.config.sampler, process, denoise, noise)
        return self._compared(said)

    def _scaled(self, x: Tensor) -> Tensor:
        if self.log_scale is not None:
            return unit_rms(x) * self.log_scale.exp()
        return to_scale(x, self.config.target_scale)

    def _compared(self, x: Tensor) -> Tensor:
        return asked_vectors(x, self.config.similarity, self.config.temperature)


def try_out(label: str, data: StudyData, seed: int, checkpoint: Path, epochs: int) -> dict[str, Any]:
    """Train one, and rank all validation targets by every walk."""
    config = RepairedConfig(**{**NETWORK, "max_length": data.split.max_length, **TRIALS[label]})
    ranker = Repaired(config, data.store.n_items)
    ranker.initialise(derive_generator(seed, "weights"))
    ranker.observe(data)
    training = TrainingConfig(**{**TRAINING, "epochs": epochs}, device="cpu")
    trained = train(ranker, data, training, seed=seed, title=label, checkpoint_path=checkpoint)
    ranker.eval()

    def measure(steps: int, by_expected: bool) -> dict[str, float]:
        ranker.by_expected = by_expected
        generator, began = derive_generator(seed, f"rank {steps}"), time.process_time()
        with torch.inference_mode():
            found = rank_targets(
                Scorer(ranker, steps),
                data,
                data.split.validation,
                generator=generator,
                device=torch.device("cpu"),
                batch_size=512,
            )
        return {
            "steps": steps,
            "by_expected": by_expected,
            "HR@10": float(hit_rate(found.greater, found.tied, 10).mean()),
            "NDCG@10": float(ndcg(found.greater, found.tied, 10).mean()),
            "cpu_seconds": time.process_time() - began,
        }

    walks = WALKS if config.delta > 0 else [(1, False)]
    return {
        "label": label,
        "changes": TRIALS[label],
        "seed": seed,
        "epochs": len(trained.history),
        "best_epoch": trained.best_epoch,
        "loss": [record.loss for record in trained.history],
        "scale": float(ranker.log_scale.exp()) if ranker.log_scale is not None else None,
        "cpu_seconds": sum(record.cpu_seconds or 0 for record in trained.history),
        "validation": [measure(steps, by_expected) for steps, by_expected in walks],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="beauty-diffusion")
    parser.add_argument("--only", nargs="+", choices=TRIALS, default=list(TRIALS), help="these trials")
    parser.add_argument("--epochs", type=int, default=TRAINING["epochs"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    data = load_split(PROJECT / "data" / "05_model_input" / args.experiment / "split.npz")
    trials = json.loads(args.out.read_text())["trials"] if args.out.exists() else []
    for label in args.only:
        if any((trial["label"], trial["seed"]) == (label, args.seed) for trial in trials):
            continue
        checkpoint = args.out.with_name(f"{args.out.stem}_{label}_{args.seed}.checkpoint")
        trials.append(try_out(label, data, args.seed, checkpoint, args.epochs))
        checkpoint.unlink(missing_ok=True)
        write_json(
            args.out,
            {
                "command": f"python benchmarks/diffusion_repairs.py --experiment {args.experiment}",
                "what": "validation targets, all items ranked; half-size diffurec, target_scale unit",
                "machine": describe_machine(torch.device("cpu")),
                "network": NETWORK,
                "training": TRAINING,
                "trials": trials,
            },
        )


if __name__ == "__main__":
    main()
