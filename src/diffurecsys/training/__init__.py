"""Training: one loop for every model; reports through callbacks and knows no tracker."""

from diffurecsys.training.config import TrainingConfig
from diffurecsys.training.records import EpochRecord, StepRecord, TrainingResult
from diffurecsys.training.seeding import derive_generator
from diffurecsys.training.trainer import NonFiniteLossError, train

__all__ = [
    "EpochRecord",
    "NonFiniteLossError",
    "StepRecord",
    "TrainingConfig",
    "TrainingResult",
    "derive_generator",
    "train",
]
