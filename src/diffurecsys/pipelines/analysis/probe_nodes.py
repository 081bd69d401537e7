"""Nodes that probe the inference of trained models: samples, ensembles, fewer reverse steps, other δ."""

from __future__ import annotations

from typing import Any

import ibis
import pandas as pd
import torch
from torch import Tensor

from diffurecsys import columns
from diffurecsys.parameters import (
    EvaluationParameters,
    GroupParameters,
    ProbeParameters,
    SignificanceParameters,
    StudyParameters,
)
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.store import Examples, SequenceStore
from diffurecsys.evaluation import inference
from diffurecsys.evaluation.inference_summary import (
    compare_levels,
    decompose_variance,
    measure_beyond_accuracy,
    sampling_spread,
    summarise_inference,
)
from diffurecsys.evaluation.leaderboard import MODEL, SEED
from diffurecsys.evaluation.ranks import Score
from diffurecsys.models import DiffusionRecommender
from diffurecsys.models.weights import ModelWeights
from diffurecsys.pipelines.analysis.group_nodes import divide_users
from diffurecsys.pipelines.arrays import ranks_from_table, read_examples, read_store, records
from diffurecsys.study import Cell
from diffurecsys.training import derive_generator
from diffurecsys.training.device import resolve_device

Probes = dict[str, list[dict[str, Any]]]
SUMMARIES = ("inference", "probe_comparisons", "spread", "step_times", "beyond_accuracy", "variance")


def probe_model(
    cell: Cell,
    evaluation: EvaluationParameters,
    probes: ProbeParameters,
    weights: ModelWeights,
    sequences: ibis.Table,
    item_vocabulary: ibis.Table,
    test_examples: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Let the cell's model rank some test users' targets many times over.

    Returns:
        Ranks of single samples, of ensembles and by number of reverse steps; the samples' top-K lists; what the steps
        took.
    """
    store, examples = _probed_examples(probes, sequences, item_vocabulary, test_examples)
    device = resolve_device(evaluation.device)
    model = weights.build(device)

    def generator(purpose: str) -> torch.Generator:
        return derive_generator(probes.seed, f"{purpose} of {cell.namespace}", device)

    sampled = inference.probe_sampling(
        _scorer(model, evaluation),
        store,
        examples,
        generators=[generator(f"sample {number}") for number in range(max(probes.ensemble_sizes))],
        sizes=probes.ensemble_sizes,
        top_k=probes.top_k,
        exclude_seen=evaluation.exclude_seen,
        batch_size=evaluation.batch_size,
        device=device,
    )
    stepped = inference.probe_steps(
        model.score,
        store,
        examples,
        generators={steps: generator(f"{steps} steps") for steps in sorted(probes.reverse_steps)},
        exclude_seen=evaluation.exclude_seen,
        batch_size=evaluation.batch_size,
        device=device,
    )
    users = examples.users(store).numpy()
    ranks = {
        inference.SAMPLE: sampled.ranks,
        inference.ENSEMBLE: sampled.ensemble_ranks,
        inference.STEPS: stepped.ranks,
    }
    times = pd.DataFrame(
        [{"steps": steps, "users": len(users), "seconds": seconds} for steps, seconds in stepped.seconds.items()]
    )
    return inference.probed_ranks_table(users, ranks), inference.recommendations_table(users, sampled.items), times


def probe_training_seeds(
    evaluation: EvaluationParameters,
    probes: ProbeParameters,
    sequences: ibis.Table,
    item_vocabulary: ibis.Table,
    test_examples: pd.DataFrame,
    *weights: ModelWeights,
) -> pd.DataFrame:
    """Rank the probed users' targets with ensembles of the model's training seeds, one reverse process each."""
    store, examples = _probed_examples(probes, sequences, item_vocabulary, test_examples)
    device = resolve_device(evaluation.device)
    ranks = inference.probe_training_seeds(
        [_scorer(part.build(device), evaluation) for part in weights],
        store,
        examples,
        generators=[derive_generator(seed, "training ensemble", device) for seed in range(len(weights))],
        sizes=probes.ensemble_sizes,
        exclude_seen=evaluation.exclude_seen,
        batch_size=evaluation.batch_size,
        device=device,
    )
    return inference.probed_ranks_table(examples.users(store).numpy(), {inference.TRAINING_SEEDS: ranks})


def summarise_probes(
    evaluation: EvaluationParameters,
    groups: GroupParameters,
    significance: SignificanceParameters,
    item_popularity: pd.DataFrame,
    history_lengths: pd.DataFrame,
    test_ranks: pd.DataFrame,
    training_ensembles: pd.DataFrame,
    *tables: pd.DataFrame,
) -> Probes:
    """Sum up the probes of a model's cells: probed ranks, recommendations and step times of each seed in turn.

    Returns:
        Records by table, see `SUMMARIES`.
    """
    probed, recommended, times = tables[0::3], tables[1::3], tables[2::3]
    users = test_ranks[test_ranks[columns.USER].isin(probed[0][columns.USER])]
    members = divide_users(ranks_from_table(users), item_popularity, history_lengths, groups)
    popularity = item_popularity[columns.TRAINING_POPULARITY].to_numpy()
    cutoffs, confidence = evaluation.cutoffs, significance.confidence
    summaries = (
        summarise_inference(probed, training_ensembles, members, cutoffs, confidence),
        compare_levels(
            probed,
            training_ensembles,
            cutoffs,
            n_resamples=significance.n_resamples,
            confidence=confidence,
            seed=significance.seed,
        ),
        sampling_spread(recommended, confidence),
        pd.concat([table.assign(**{SEED: seed}) for seed, table in enumerate(times)]),
        measure_beyond_accuracy(recommended, popularity),
        decompose_variance(probed, cutoffs),
    )
    return {name: records(table) for name, table in zip(SUMMARIES, summaries, strict=True)}


def tabulate_probes(study: StudyParameters, *summaries: Probes) -> tuple[pd.DataFrame, ...]:
    """Put the summaries of all models side by side, one table for each of `SUMMARIES`."""
    return tuple(
        pd.concat(
            [
                pd.DataFrame(part[table]).assign(**{MODEL: name})
                for name, part in zip(study.models, summaries, strict=True)
            ],
            ignore_index=True,
        )
        for table in SUMMARIES
    )


def _probed_examples(
    probes: ProbeParameters, sequences: ibis.Table, item_vocabulary: ibis.Table, test_examples: pd.DataFrame
) -> tuple[SequenceStore, Examples]:
    store, examples = read_store(sequences, item_vocabulary), read_examples(test_examples)
    return store, examples[inference.choose_users(len(examples), probes.users, probes.seed)]


def _scorer(model: DiffusionRecommender, evaluation: EvaluationParameters) -> Score:
    def score(batch: PackedBatch, generator: torch.Generator) -> Tensor:
        return model.score(batch, generator, evaluation.reverse_steps)

    return score
