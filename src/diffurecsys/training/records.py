"""What training reports: one record a step, one an epoch, one at the end."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class StepRecord:
    """One optimiser step.

    Attributes:
        epoch: 1-based.
        epochs: planned epochs.
        step: 1-based within the epoch.
        steps: steps an epoch.
        labels: asked positions in the batch.
        loss: scalar on the training device; reading it waits for the device.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    labels: int
    loss: Tensor


@dataclass(frozen=True)
class EpochRecord:
    """One epoch.

    Attributes:
        epoch: 1-based.
        loss: mean over the labels, the asked positions.
        learning_rate: in force during the epoch.
        seconds: of training, without validation.
        labels_per_second: of training.
        validation: metrics by name (`NDCG@10`, …); None where this epoch was not validated.
        cpu_seconds: of training, of the whole process with all its threads, which other processes hardly stretch; None
            on a GPU, and in records of before it was measured.
    """

    epoch: int
    loss: float
    learning_rate: float
    seconds: float
    labels_per_second: float
    validation: dict[str, float] | None
    cpu_seconds: float | None = None


@dataclass(frozen=True)
class TrainingResult:
    """A trained model's best weights and how they came about.

    Attributes:
        state: the best epoch's weights, on the host.
        history: one record an epoch.
        best_epoch: the epoch the weights are from.
        seconds: of training, without validation, over all runs that contributed.
        device: what it ran on.
        resumed_from: epochs taken from a checkpoint; 0 for an unbroken run.
        finished_early: whether patience ran out.
    """

    state: dict[str, Tensor]
    history: tuple[EpochRecord, ...]
    best_epoch: int
    seconds: float
    device: str
    resumed_from: int
    finished_early: bool
