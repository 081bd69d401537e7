"""Bootstrap and randomisation draws of all models' means at once.

Every draw is a weighted sum over users, so that thousands of draws for all models, seeds and metrics are one matrix
product, and all pairs of models share the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from diffurecsys.evaluation.metrics import FloatArray
from diffurecsys.evaluation.significance.scores import ModelScores

BLOCK_BYTES = 100 << 20  # of weights of one block of draws

Weights = Callable[[int], NDArray[np.float32]]


def draw_means(
    scores: Sequence[ModelScores], n_resamples: int, rng: np.random.Generator
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Draw every model's means over resampled and over randomly signed users.

    Args:
        scores: all models, of the same users.
        n_resamples: draws.
        rng: their source.

    Returns:
        By model, float64 `[draws, seeds, metrics]`: means over users drawn with replacement; means of values whose sign
        is drawn, the same for all models.
    """
    n_users = next(iter(scores[0].values.values())).shape[1]
    stacked = [np.stack(list(score.values.values()), axis=-1) for score in scores]  # (seeds, users, metrics)
    table = np.concatenate([part.transpose(1, 0, 2).reshape(n_users, -1) for part in stacked], axis=1)
    table = table.astype(np.float32)

    def counts(rows: int) -> NDArray[np.float32]:
        drawn = rng.integers(n_users, size=(rows, n_users), dtype=np.int32)
        return np.stack([np.bincount(row, minlength=n_users) for row in drawn]).astype(np.float32)

    def signs(rows: int) -> NDArray[np.float32]:
        bits = np.unpackbits(np.frombuffer(rng.bytes(rows * (-(-n_users // 8))), np.uint8).reshape(rows, -1), axis=1)
        return bits[:, :n_users].astype(np.float32) * 2 - 1

    def split(means: FloatArray) -> dict[str, FloatArray]:
        borders = np.cumsum([part.shape[0] * part.shape[2] for part in stacked])[:-1]
        return {
            score.model: drawn.reshape(n_resamples, part.shape[0], part.shape[2])
            for score, part, drawn in zip(scores, stacked, np.split(means, borders, axis=1), strict=True)
        }

    return split(_weighted(table, counts, n_resamples)), split(_weighted(table, signs, n_resamples))


def _weighted(table: NDArray[np.float32], weights: Weights, n_resamples: int) -> FloatArray:
    """Multiply blocks of drawn weights `[draws, users]` with `[users, columns]`, and divide by the number of users."""
    n_users, n_columns = table.shape
    out = np.empty((n_resamples, n_columns))
    rows = max(1, BLOCK_BYTES // (4 * n_users))
    for first in range(0, n_resamples, rows):
        block = min(rows, n_resamples - first)
        out[first : first + block] = weights(block) @ table
    return np.asarray(out / n_users)
