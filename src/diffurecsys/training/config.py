"""Training settings (defaults: the paper's, plus validation and checkpoints)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class TrainingConfig:
    """How one model is trained.

    Attributes:
        epochs: passes over the training examples, at most.
        batch_size: examples a step.
        learning_rate: Adam's, until `lr_decay_epoch`.
        weight_decay: Adam's L2 penalty.
        lr_decay_epoch: from this epoch on (and again after as many) the rate is multiplied by `lr_decay` (StepLR).
        lr_decay: that factor.
        negatives: compare each target with this many sampled items, the same for the whole batch, in place of the
            whole catalogue (the paper's loss): for catalogues of hundreds of thousands of items. None is the catalogue.
        negatives_power: they are drawn in proportion to training popularity to this power, and the loss corrects for
            it; 0 draws uniformly.
        clip_norm: largest gradient norm; None leaves gradients alone.
        validate_every: epochs between validations on NDCG@10.
        validation_steps: reverse steps used in validation.
        patience: stop after this many validations without improvement; None trains all epochs.
        checkpoint_every: epochs between checkpoints.
        precision: `auto` is bfloat16 autocast on CUDA and float32 elsewhere.
        device: `auto` is CUDA where there is one.
    """

    epochs: int = 41
    batch_size: int = 1024
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    lr_decay_epoch: int = 30
    lr_decay: float = 0.1
    negatives: int | None = None
    negatives_power: float = 0.75
    clip_norm: float | None = None
    validate_every: int = 1
    validation_steps: int = 1
    patience: int | None = 10
    checkpoint_every: int = 1
    precision: Precision = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least_one = ("epochs", "batch_size", "lr_decay_epoch", "validate_every", "validation_steps", "patience")
        for name in (*at_least_one, "checkpoint_every", "negatives"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"training.{name} must be at least 1, got {value}")
        for name in ("learning_rate", "lr_decay", "clip_norm"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"training.{name} must be positive, got {value}")
        for name in ("weight_decay", "negatives_power"):
            if getattr(self, name) < 0:
                raise ValueError(f"training.{name} must not be negative, got {getattr(self, name)}")
        if self.precision not in get_args(Precision):
            raise ValueError(f"training.precision must be one of {get_args(Precision)}, got {self.precision!r}")
