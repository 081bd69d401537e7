"""Nodes that map representations of users and items to the plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go
import torch
from torch import Tensor

from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.evaluation.inference import choose_users
from diffurecsys.evaluation.maps import item_map, sample_map, target_map
from diffurecsys.evaluation.representations import Predict, reconstruct_targets, sample_targets
from diffurecsys.models.base import VectorRanker
from diffurecsys.models.weights import RankerWeights
from diffurecsys.reporting.sections.maps import plotly_target_map
from diffurecsys.training import derive_generator
from diffurecsys.training.device import resolve_device

if TYPE_CHECKING:
    from diffurecsys.parameters import EvaluationParameters, MapParameters


def map_users_and_items(
    evaluation: EvaluationParameters, maps: MapParameters, data: StudyData, weights: RankerWeights
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Map what a trained ranker expects next for each test user, and its items.

    Returns:
        One row a test user; one row an item.
    """
    device = resolve_device(evaluation.device)
    ranker = _vectors(weights, device)
    examples = data.split.test[choose_users(len(data.split.test), maps.users, maps.seed)]
    targets = reconstruct_targets(
        _predict(ranker),
        data.store,
        examples,
        generator=derive_generator(maps.seed, "targets", device),
        batch_size=evaluation.batch_size,
        device=device,
    )
    users, perplexity, seed = examples.users(data.store).numpy(), maps.perplexity, maps.seed
    with torch.inference_mode():
        items = ranker.items().float().cpu().numpy()
    return (
        target_map(targets.numpy(), users, clusters=maps.clusters, perplexity=perplexity, seed=seed),
        item_map(items, data.popularity.numpy(), perplexity=perplexity, seed=seed),
    )


def map_samples(
    evaluation: EvaluationParameters, maps: MapParameters, data: StudyData, weights: RankerWeights
) -> pd.DataFrame:
    """Map many samples of several users, one row a sample."""
    device = resolve_device(evaluation.device)
    examples = data.split.test[choose_users(len(data.split.test), maps.sampled_users, maps.seed)]
    samples = sample_targets(
        _predict(_vectors(weights, device)),
        data.store,
        examples,
        samples=maps.samples,
        generator=derive_generator(maps.seed, "samples", device),
        batch_size=evaluation.batch_size,
        device=device,
    )
    users = examples.users(data.store).numpy()
    return sample_map(samples.numpy(), users, perplexity=maps.perplexity, seed=maps.seed)


def plot_target_map(target_map: pd.DataFrame) -> go.Figure:
    """Draw one ranker's map of targets to be zoomed into."""
    return plotly_target_map(target_map)


def _vectors(weights: RankerWeights, device: torch.device) -> VectorRanker:
    ranker = weights.build(device)
    if not isinstance(ranker, VectorRanker):
        raise TypeError(f"the family {weights.family} says that it has vectors, but its ranker is no VectorRanker")
    return ranker


def _predict(ranker: VectorRanker) -> Predict:
    steps = ranker.config.steps_for("evaluation")

    def predict(batch: PackedBatch, generator: torch.Generator) -> Tensor:
        return ranker.users(batch, generator, steps)

    return predict
