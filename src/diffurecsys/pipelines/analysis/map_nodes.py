"""Nodes that map representations of users and items to the plane."""

from __future__ import annotations

import ibis
import pandas as pd
import torch
from torch import Tensor

from diffurecsys import columns
from diffurecsys.parameters import EvaluationParameters, MapParameters
from diffurecsys.data.packing import PackedBatch
from diffurecsys.evaluation.inference import choose_users
from diffurecsys.evaluation.maps import item_map, sample_map, target_map
from diffurecsys.evaluation.representations import reconstruct_targets, sample_targets
from diffurecsys.models.weights import ModelWeights
from diffurecsys.pipelines.arrays import read_examples, read_store
from diffurecsys.training import derive_generator
from diffurecsys.training.device import resolve_device


def map_representations(
    evaluation: EvaluationParameters,
    maps: MapParameters,
    sequences: ibis.Table,
    item_vocabulary: ibis.Table,
    test_examples: pd.DataFrame,
    item_popularity: pd.DataFrame,
    weights: ModelWeights,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Map one trained model's reconstructed targets, samples of several users, and item embeddings.

    Returns:
        One row a test user; one row a sample of the sampled users; one row an item.
    """
    store, examples = read_store(sequences, item_vocabulary), read_examples(test_examples)
    device = resolve_device(evaluation.device)
    model = weights.build(device)

    def predict(batch: PackedBatch, generator: torch.Generator) -> Tensor:
        return model.predict(batch, generator, evaluation.reverse_steps)

    def generator(purpose: str) -> torch.Generator:
        return derive_generator(maps.seed, purpose, device)

    chosen = examples[choose_users(len(examples), maps.users, maps.seed)]
    targets = reconstruct_targets(
        predict, store, chosen, generator=generator("targets"), batch_size=evaluation.batch_size, device=device
    )
    few = examples[choose_users(len(examples), maps.sampled_users, maps.seed)]
    samples = sample_targets(
        predict,
        store,
        few,
        samples=maps.samples,
        generator=generator("samples"),
        batch_size=evaluation.batch_size,
        device=device,
    )
    embeddings = model.items.weight.detach().float().cpu().numpy()
    popularity = item_popularity[columns.TRAINING_POPULARITY].to_numpy()
    perplexity, seed = maps.perplexity, maps.seed
    return (
        target_map(
            targets.numpy(), chosen.users(store).numpy(), clusters=maps.clusters, perplexity=perplexity, seed=seed
        ),
        sample_map(samples.numpy(), few.users(store).numpy(), perplexity=perplexity, seed=seed),
        item_map(embeddings, popularity, perplexity=perplexity, seed=seed),
    )
