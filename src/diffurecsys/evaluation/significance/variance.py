"""Where a metric's variance comes from: users, training seeds, sampling seeds of the reverse process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from diffurecsys.evaluation.metrics import FloatArray

USERS = "users"  # values of the column `source`
TRAINING_SEEDS = "training seeds"
SAMPLING_SEEDS = "sampling seeds"
INTERACTION = "interaction"


@dataclass(frozen=True)
class VarianceComponents:
    """Variances of single values, by source; None where there was nothing to tell a source by.

    Attributes:
        users: between users.
        training: between training seeds.
        sampling: between sampling seeds of one trained model.
        interaction: of what users make of a training or sampling seed; with one sampling seed this holds the
            sampling's part, too.
        n_users: users whose mean a metric is.
    """

    users: float
    training: float | None
    sampling: float | None
    interaction: float
    n_users: int

    def table(self) -> pd.DataFrame:
        """Return source, variance, std_of_mean, share of the known sources.

        std_of_mean: standard deviation that the source alone gives the metric of one run (one training seed, one
        sampling seed, all users); share: of that variance.
        """
        parts = {
            USERS: (self.users, self.users / self.n_users),
            TRAINING_SEEDS: (self.training, self.training),
            SAMPLING_SEEDS: (self.sampling, self.sampling),
            INTERACTION: (self.interaction, self.interaction / self.n_users),
        }
        known = {source: (single, mean) for source, (single, mean) in parts.items() if single is not None}
        total = sum(mean for _, mean in known.values() if mean is not None)
        return pd.DataFrame(
            [
                {
                    "source": source,
                    "variance": single,
                    "std_of_mean": float(np.sqrt(mean)),
                    "share": mean / total if total else 0.0,
                }
                for source, (single, mean) in known.items()
                if mean is not None
            ]
        )


def variance_components(values: FloatArray) -> VarianceComponents:
    """Estimate variance components of values `[training seeds, sampling seeds, users]`.

    Users are crossed with sampling seeds, which are nested in training seeds. Estimates equate mean squares with their
    expectations; negative ones are set to 0.

    Raises:
        ValueError: fewer than two users, or one seed of either kind alone.
    """
    n_training, n_sampling, n_users = values.shape
    if n_users < 2 or n_training * n_sampling < 2:
        raise ValueError(f"nothing varies in {n_training} x {n_sampling} seeds and {n_users} users")
    mean, by_user = values.mean(), values.mean(axis=(0, 1))
    by_training, by_sample = values.mean(axis=(1, 2)), values.mean(axis=2)
    by_training_user = values.mean(axis=1)
    ms_users = n_training * n_sampling * by_user.var(ddof=1)
    ms_training = n_sampling * n_users * by_training.var(ddof=1) if n_training > 1 else 0.0
    crossed = by_training_user - by_training[:, None] - by_user + mean
    ms_crossed = n_sampling * _per(crossed, (n_training - 1) * (n_users - 1))
    ms_sampling = n_users * _per(by_sample - by_training[:, None], n_training * (n_sampling - 1))
    residual = values - by_training_user[:, None] - by_sample[:, :, None] + by_training[:, None, None]
    ms_residual = _per(residual, n_training * (n_sampling - 1) * (n_users - 1))
    interaction = ms_residual if n_sampling > 1 else ms_crossed
    if n_training > 1 and n_sampling > 1:
        interaction += max(0.0, ms_crossed - ms_residual) / n_sampling
    users = (ms_users - (ms_crossed if n_training > 1 else ms_residual)) / (n_training * n_sampling)
    training = (ms_training - ms_sampling - ms_crossed + ms_residual) / (n_sampling * n_users)
    sampling = (ms_sampling - ms_residual) / n_users
    return VarianceComponents(
        users=max(0.0, float(users)),
        training=max(0.0, float(training)) if n_training > 1 else None,
        sampling=max(0.0, float(sampling)) if n_sampling > 1 else None,
        interaction=float(interaction),
        n_users=n_users,
    )


def _per(effects: FloatArray, df: int) -> float:
    """Mean square of effects; 0 without degrees of freedom."""
    return float((effects**2).sum() / df) if df else 0.0
