"""Training settings (defaults: the paper's, plus validation and checkpoints)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from diffurecsys.checks import at_least, one_of, positive, within
from diffurecsys.checks import device as check_device
from diffurecsys.data.schemes import SCHEMES

Precision = Literal["auto", "float32", "bfloat16"]
Optimiser = Literal["adam", "adamw", "lazy_adam"]
Decay = Literal["step", "cosine", "constant"]


@dataclass(frozen=True)
class TrainingConfig:
    """How one ranker is trained.

    Attributes:
        scheme: `prefix` (an example for every prefix of a training sequence, asked at its end, the paper's) or `window`
            (whole sequences, asked at every position; for causal rankers).
        epochs: passes over the training examples, at most.
        batch_size: examples a step: prefixes, or windows.
        learning_rate: the optimiser's, after warm-up and before decay.
        optimiser: `adam`, whose weight decay is an L2 penalty, `adamw`, whose decay is decoupled from the gradient, or
            `lazy_adam`, which from a million items on moves only the items that a step looked up (of losses over
            sampled items, in one process; else it is `adam`).
        beta2: Adam's second decay rate.
        weight_decay: of the optimiser.
        warmup_steps: over so many first steps the rate rises linearly from 0.
        lr_schedule: `step` multiplies the rate by `lr_decay` from `lr_decay_epoch` on (and again after as many),
            `cosine` lets it fall to 0 over `epochs`, `constant` leaves it.
        lr_decay_epoch: of `step`.
        lr_decay: of `step`.
        average: validate and keep an exponential moving average of the weights with this decay a step; None: the
            weights themselves.
        clip_norm: largest gradient norm; None leaves gradients alone.
        validate_every: epochs between validations on NDCG@10.
        patience: stop after this many validations without improvement; None trains all epochs.
        checkpoint_every: epochs between checkpoints.
        precision: of products in training. `auto` is bfloat16 on CUDA (autocast) and on processors that multiply it
            faster (losses over items, linear maps; all else, validation and ranking stay float32), else float32.
        device: `auto` is CUDA where there is one.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    scheme: str = "prefix"
    epochs: int = 41
    batch_size: int = 1024
    learning_rate: float = 1e-3
    optimiser: Optimiser = "adam"
    beta2: float = 0.999
    weight_decay: float = 1e-4
    warmup_steps: int = 0
    lr_schedule: Decay = "step"
    lr_decay_epoch: int = 30
    lr_decay: float = 0.1
    average: float | None = None
    clip_norm: float | None = None
    validate_every: int = 1
    patience: int | None = 10
    checkpoint_every: int = 1
    precision: Precision = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least(self, 1, "epochs", "batch_size", "lr_decay_epoch", "validate_every", "patience", "checkpoint_every")
        positive(self, "learning_rate", "lr_decay", "clip_norm")
        at_least(self, 0, "weight_decay", "warmup_steps")
        within(self, 0, 1, "beta2", "average")
        check_device(self, "device")
        one_of(self, tuple(SCHEMES), "scheme")
        one_of(self, get_args(Precision), "precision")
        one_of(self, get_args(Optimiser), "optimiser")
        one_of(self, get_args(Decay), "lr_schedule")
        if self.optimiser == "lazy_adam" and self.clip_norm is not None:
            raise ValueError(f"clip_norm must be null with optimiser lazy_adam, got {self.clip_norm:g}")
