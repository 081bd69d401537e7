"""Representations on the plane: t-SNE and k-means of reconstructed targets, samples and item embeddings.

t-SNE is openTSNE's (Policar, Strazar, Zupan, Journal of Statistical Software 109, 2024) on one thread, from a PCA. Many
points have approximate neighbours and gradients. The same points and seed give the same bits. openTSNE and scikit-learn
are imported where they are used: every `kedro` command would wait for them.
"""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffurecsys import columns
from diffurecsys.evaluation.inference import SAMPLE

logger = logging.getLogger(__name__)
logging.getLogger("openTSNE").setLevel(logging.WARNING)  # it informs of its defaults on every map

X = "x"
Y = "y"
CLUSTER = "cluster"
FEWEST = 10  # points on a map

Vectors = NDArray[np.float32]


def map_points(vectors: Vectors, *, perplexity: float = 30.0, seed: int = 0) -> NDArray[np.float64]:
    """Map points `[n, width]` to the plane, float64 `[n, 2]`.

    Args:
        vectors: the points; they are scaled to unit length, as only directions tell items apart.
        perplexity: effective number of neighbours; less where there are fewer than three times as many points.
        seed: of the optimisation.

    Raises:
        ValueError: there are fewer than ten points, or they are not finite.
    """
    from openTSNE import TSNE

    if len(vectors) < FEWEST:
        raise ValueError(f"a map needs at least {FEWEST} points, got {len(vectors)}")
    if not np.isfinite(vectors).all():
        raise ValueError("points to map must be finite: the model's weights are damaged or training diverged")
    unit = _unit(vectors)
    mapper = TSNE(
        perplexity=min(perplexity, (len(unit) - 1) / 3),
        initialization="pca",
        neighbors="exact" if len(unit) <= 5_000 else "annoy",
        negative_gradient_method="bh" if len(unit) <= 10_000 else "fft",
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(mapper.fit(unit), dtype=np.float64)


def cluster_points(vectors: Vectors, clusters: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Assign points `[n, width]` to k-means clusters, int64 `[n]`; the largest cluster is 0."""
    from sklearn.cluster import KMeans

    found = KMeans(min(clusters, len(vectors)), n_init=3, random_state=seed).fit_predict(_unit(vectors))
    by_size = np.argsort(-np.bincount(found), kind="stable")
    return np.asarray(np.argsort(by_size)[found], dtype=np.int64)


def target_map(
    targets: Vectors, users: NDArray[np.int64], *, clusters: int, perplexity: float, seed: int
) -> pd.DataFrame:
    """Map one reconstructed target a user: USER, X, Y, CLUSTER (k-means on the whole vectors).

    A map of fewer than ten points tells nothing and is empty; so are the others.
    """
    if _too_few(targets, "users"):
        return _empty(columns.USER, X, Y, CLUSTER)
    place = map_points(targets, perplexity=perplexity, seed=seed)
    return pd.DataFrame(
        {
            columns.USER: users,
            X: place[:, 0],
            Y: place[:, 1],
            CLUSTER: cluster_points(targets, clusters, seed=seed),
        }
    )


def sample_map(samples: Vectors, users: NDArray[np.int64], *, perplexity: float, seed: int) -> pd.DataFrame:
    """Map samples `[users, samples, width]` of several users in one map: USER, SAMPLE, X, Y."""
    n_users, n_samples, width = samples.shape
    if _too_few(samples.reshape(-1, width), "samples"):
        return _empty(columns.USER, SAMPLE, X, Y)
    place = map_points(samples.reshape(-1, width), perplexity=perplexity, seed=seed)
    return pd.DataFrame(
        {
            columns.USER: np.repeat(users, n_samples),
            SAMPLE: np.tile(np.arange(n_samples), n_users),
            X: place[:, 0],
            Y: place[:, 1],
        }
    )


def item_map(embeddings: Vectors, popularity: NDArray[np.int64], *, perplexity: float, seed: int) -> pd.DataFrame:
    """Map item embeddings `[n_items, width]`: ITEM, X, Y, POPULARITY (interactions)."""
    if _too_few(embeddings, "items"):
        return _empty(columns.ITEM, X, Y, columns.POPULARITY)
    place = map_points(embeddings, perplexity=perplexity, seed=seed)
    return pd.DataFrame(
        {
            columns.ITEM: np.arange(len(embeddings)),
            X: place[:, 0],
            Y: place[:, 1],
            columns.POPULARITY: popularity,
        }
    )


def _too_few(vectors: Vectors, what: str) -> bool:
    if len(vectors) >= FEWEST:
        return False
    logger.warning("The map of %s is left out: it needs %d points, there are %d", what, FEWEST, len(vectors))
    return True


def _empty(*names: str) -> pd.DataFrame:
    counted = (columns.USER, columns.ITEM, SAMPLE, CLUSTER, columns.POPULARITY)
    return pd.DataFrame({name: pd.Series(dtype="int64" if name in counted else "float64") for name in names})


def _unit(vectors: Vectors) -> Vectors:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1))
