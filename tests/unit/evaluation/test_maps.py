"""Maps: what lies together stays together, and the same seed draws the same map."""

from __future__ import annotations

import numpy as np
import pytest

from diffurecsys.evaluation.maps import cluster_points, item_map, map_points, sample_map, target_map


@pytest.fixture(scope="module")
def blobs():
    rng = np.random.default_rng(0)
    centres = 5 * rng.normal(size=(3, 6))
    sizes = (50, 20, 30)
    points = np.concatenate(
        [centre + 0.1 * rng.normal(size=(size, 6)) for centre, size in zip(centres, sizes, strict=True)]
    )
    return points.astype(np.float32), np.repeat([0, 1, 2], sizes)


def test_the_same_seed_draws_the_same_map_and_blobs_stay_apart(blobs):
    points, blob = blobs
    first, again = map_points(points, seed=3), map_points(points, seed=3)
    assert (first == again).all()
    middles = np.stack([first[blob == number].mean(axis=0) for number in range(3)])
    nearest = np.argmin(((first[:, None] - middles) ** 2).sum(-1), axis=1)
    assert (nearest == blob).all()


def test_clusters_are_numbered_by_size(blobs):
    points, blob = blobs
    found = cluster_points(points, 3, seed=0)
    assert np.bincount(found).tolist() == [50, 30, 20]
    assert len(set(zip(found, blob, strict=True))) == 3


def test_length_does_not_matter_only_direction(blobs):
    points, _ = blobs
    stretched = points * np.linspace(0.5, 2, len(points), dtype=np.float32)[:, None]
    assert (cluster_points(points, 3) == cluster_points(stretched, 3)).all()


def test_few_points_and_few_neighbours():
    points = np.random.default_rng(1).normal(size=(12, 4)).astype(np.float32)
    assert map_points(points, perplexity=30).shape == (12, 2)
    assert len(set(cluster_points(points[:3], 8))) == 3
    with pytest.raises(ValueError, match="at least 10 points, got 9"):
        map_points(points[:9])
    points[3, 1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        map_points(points)


def test_tables_say_whose_point_it_is(blobs):
    points, _ = blobs
    users = np.arange(100) * 2
    targets = target_map(points, users, clusters=3, perplexity=10, seed=0)
    assert targets["user"].tolist() == users.tolist()
    assert targets["cluster"].value_counts().tolist() == [50, 30, 20]
    samples = sample_map(points[:60].reshape(3, 20, 6), np.array([7, 8, 9]), perplexity=5, seed=0)
    assert samples["user"].tolist() == [7] * 20 + [8] * 20 + [9] * 20
    assert samples["sample"].tolist() == list(range(20)) * 3
    items = item_map(points[:30], np.arange(30), perplexity=5, seed=0)
    assert list(items.columns) == ["item", "x", "y", "popularity"]
