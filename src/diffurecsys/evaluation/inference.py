"""Probes of a trained model's inference: many samples a user, ensembles of them, fewer reverse steps.

Ensembles average probability distributions over items (the paper's Algorithm 3).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffurecsys import columns
from diffurecsys.data.packing import PackedBatch, Packer
from diffurecsys.data.store import Examples, SequenceStore
from diffurecsys.evaluation.ranks import Score, SeenItems, rank_in_scores

KIND = "kind"
LEVEL = "level"
SAMPLE = "sample"  # values of KIND; LEVEL is the sample's number
ENSEMBLE = "ensemble"  # … how many sampling seeds are averaged
STEPS = "steps"  # … how many reverse steps are walked
TRAINING_SEEDS = "training_seeds"  # … how many trained models are averaged

RankArray = NDArray[np.float64]
ScoreWithSteps = Callable[[PackedBatch, torch.Generator, int], Tensor]


@dataclass(frozen=True)
class SamplingProbe:
    """What several reverse processes a user gave.

    Attributes:
        ranks: of each sample, by number, float64 `[users]`.
        ensemble_ranks: under the mean distribution of the first M samples, by M, float64 `[users]`.
        items: int32 `[samples, users, K]`, every sample's first items, best first.
    """

    ranks: dict[int, RankArray]
    ensemble_ranks: dict[int, RankArray]
    items: NDArray[np.int32]


@dataclass(frozen=True)
class StepsProbe:
    """What fewer reverse steps gave.

    Attributes:
        ranks: by number of steps, float64 `[users]`.
        seconds: by number of steps: wall time of scoring all users, without ranking.
    """

    ranks: dict[int, RankArray]
    seconds: dict[int, float]


def choose_users(n_users: int, limit: int | None, seed: int) -> Tensor:
    """Draw at most `limit` of the users 0 … `n_users - 1` (None: take all); ascending int64."""
    if limit is None or limit >= n_users:
        return torch.arange(n_users)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(n_users, generator=generator)[:limit].sort().values


@torch.inference_mode()
def probe_sampling(
    score: Score,
    store: SequenceStore,
    examples: Examples,
    *,
    generators: Sequence[torch.Generator],
    sizes: Sequence[int] = (1, 2, 4, 8, 16),
    top_k: int = 20,
    exclude_seen: bool = False,
    batch_size: int = 512,
    device: torch.device | str = "cpu",
) -> SamplingProbe:
    """Rank every example's target with single samples and with ensembles of them.

    Args:
        score: gives `[batch, n_items]` from one reverse process.
        store: all sequences, on the host.
        examples: whom to rank for.
        generators: one a sampling seed, on `device`.
        sizes: numbers M of samples whose distributions are averaged.
        top_k: length of the lists kept of every sample; at most the catalogue.
        exclude_seen: leave out items that the user had before, as `rank_targets` does.
        batch_size: examples scored at once.
        device: where `score` computes.

    Raises:
        ValueError: a size is not within 1 … number of generators.
    """
    _check_sizes(sizes, len(generators), "sampling seeds")
    n, kept = len(examples), min(top_k, store.n_items)
    seen = SeenItems(store, examples, torch.device(device)) if exclude_seen else None
    ranks = {number: np.empty(n) for number in range(len(generators))}
    ensemble_ranks = {size: np.empty(n) for size in sizes}
    items = np.empty((len(generators), n, kept), dtype=np.int32)
    for batch, index in _batches(store, examples, batch_size, device):
        place = index.numpy()
        members = (_without(seen, score(batch, generator), index) for generator in generators)
        for number, (scores, mixture) in enumerate(_mixtures(members)):
            ranks[number][place] = _ranks(scores, batch)
            items[number, place] = scores.topk(kept).indices.int().cpu().numpy()
            if number + 1 in ensemble_ranks:
                ensemble_ranks[number + 1][place] = _ranks(mixture, batch)
    return SamplingProbe(ranks, ensemble_ranks, items)


@torch.inference_mode()
def probe_training_seeds(
    scorers: Sequence[Score],
    store: SequenceStore,
    examples: Examples,
    *,
    generators: Sequence[torch.Generator],
    sizes: Sequence[int] = (1, 2, 4, 8, 16),
    exclude_seen: bool = False,
    batch_size: int = 512,
    device: torch.device | str = "cpu",
) -> dict[int, RankArray]:
    """Rank every example's target under the mean distribution of the first M trained models, one sample each.

    Args:
        scorers: one a trained model.
        store: all sequences, on the host.
        examples: whom to rank for.
        generators: one a model, on `device`.
        sizes: numbers M; those beyond the number of models are left out, that of all models is added.
        exclude_seen: leave out items that the user had before, as `rank_targets` does.
        batch_size: examples scored at once.
        device: where the models compute.

    Returns:
        float64 `[users]` by M.
    """
    wanted = sorted({size for size in sizes if size <= len(scorers)} | {len(scorers)})
    ranks = {size: np.empty(len(examples)) for size in wanted}
    seen = SeenItems(store, examples, torch.device(device)) if exclude_seen else None
    for batch, index in _batches(store, examples, batch_size, device):
        members = (
            _without(seen, score(batch, generator), index) for score, generator in zip(scorers, generators, strict=True)
        )
        for number, (_, mixture) in enumerate(_mixtures(members), start=1):
            if number in ranks:
                ranks[number][index.numpy()] = _ranks(mixture, batch)
    return ranks


@torch.inference_mode()
def probe_steps(
    score: ScoreWithSteps,
    store: SequenceStore,
    examples: Examples,
    *,
    generators: Mapping[int, torch.Generator],
    exclude_seen: bool = False,
    batch_size: int = 512,
    device: torch.device | str = "cpu",
) -> StepsProbe:
    """Rank every example's target with different numbers of reverse steps, and take the time of scoring.

    Args:
        score: gives `[batch, n_items]` with a number of steps.
        store: all sequences, on the host.
        examples: whom to rank for.
        generators: by number of steps, on `device`.
        exclude_seen: leave out items that the user had before, as `rank_targets` does.
        batch_size: examples scored at once.
        device: where `score` computes.
    """
    ranks: dict[int, RankArray] = {}
    seconds: dict[int, float] = {}
    seen = SeenItems(store, examples, torch.device(device)) if exclude_seen else None
    warm_up, _ = next(_batches(store, examples, batch_size, device))
    score(warm_up, torch.Generator(device=device).manual_seed(0), min(generators))
    for steps, generator in generators.items():
        ranks[steps], seconds[steps] = np.empty(len(examples)), 0.0
        for batch, index in _batches(store, examples, batch_size, device):
            _synchronise(device)
            began = time.perf_counter()
            scores = score(batch, generator, steps)
            _synchronise(device)
            seconds[steps] += time.perf_counter() - began
            ranks[steps][index.numpy()] = _ranks(_without(seen, scores, index), batch)
    return StepsProbe(ranks, seconds)


def probed_ranks_table(users: NDArray[np.int64], ranks: Mapping[str, Mapping[int, RankArray]]) -> pd.DataFrame:
    """Return one row a kind, level and user: KIND, LEVEL, USER, RANK; users in the order given."""
    return pd.concat(
        [
            pd.DataFrame({KIND: kind, LEVEL: level, columns.USER: users, columns.RANK: values})
            for kind, levels in ranks.items()
            for level, values in levels.items()
        ],
        ignore_index=True,
    )


def ranks_at(table: pd.DataFrame, kind: str) -> dict[int, RankArray]:
    """Take the ranks of a kind, by level, from a `probed_ranks_table`."""
    rows = table[table[KIND] == kind]
    levels = np.sort(rows[LEVEL].unique())
    return {int(level): rows.loc[rows[LEVEL] == level, columns.RANK].to_numpy() for level in levels}


def recommendations_table(users: NDArray[np.int64], items: NDArray[np.int32]) -> pd.DataFrame:
    """Return one row a sample and user: SAMPLE, USER, ITEMS (list, best first)."""
    samples = len(items)
    return pd.DataFrame(
        {
            SAMPLE: np.repeat(np.arange(samples), len(users)),
            columns.USER: np.tile(users, samples),
            columns.ITEMS: list(items.reshape(samples * len(users), -1)),
        }
    )


def recommended_items(table: pd.DataFrame) -> NDArray[np.int32]:
    """Take the lists `[samples, users, K]` from a `recommendations_table`."""
    samples = int(table[SAMPLE].nunique())
    lists: NDArray[np.int32] = np.stack(list(table[columns.ITEMS])).astype(np.int32)
    return lists.reshape(samples, -1, lists.shape[-1])


def _mixtures(members: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each member's scores and the logarithm of the mean distribution so far, less a constant of the row.

    Logarithms in float64: a float32 softmax underflows for unlikely items, which would tie them.
    """
    total: Tensor | None = None
    for scores in members:
        log_probability = scores.double().log_softmax(dim=-1)
        total = log_probability if total is None else torch.logaddexp(total, log_probability)
        yield scores, total


def _batches(
    store: SequenceStore, examples: Examples, batch_size: int, device: torch.device | str
) -> Iterator[tuple[PackedBatch, Tensor]]:
    by_length = torch.argsort(examples.lengths, stable=True)
    return Packer(store, examples, device).batches(by_length, batch_size)


def _ranks(scores: Tensor, batch: PackedBatch) -> RankArray:
    rank: RankArray = rank_in_scores(scores, batch.targets)[0].cpu().numpy()
    return rank


def _without(seen: SeenItems | None, scores: Tensor, index: Tensor) -> Tensor:
    if seen is not None:
        seen.exclude(scores, index)
    return scores


def _check_sizes(sizes: Sequence[int], available: int, what: str) -> None:
    for size in sizes:
        if not 1 <= size <= available:
            raise ValueError(f"an ensemble of {size} cannot be made of {available} {what}")


def _synchronise(device: torch.device | str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
