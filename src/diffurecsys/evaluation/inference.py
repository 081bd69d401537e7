"""Probes of a ranker's inference: many samples a user, ensembles of them, fewer reverse steps.

Ensembles average probability distributions over items. Which rankers can be asked is said by their capabilities.
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
from diffurecsys.evaluation.ranks import ALL, UNSEEN, Ranking, Score, SeenItems, rank_in_scores

KIND = "kind"
LEVEL = "level"
SAMPLE = "sample"  # values of KIND; LEVEL is the sample's number
ENSEMBLE = "ensemble"  # … how many reverse processes are averaged
ALGORITHM_3 = "algorithm_3"  # … how many sampling seeds the paper's Algorithm 3 averages
STEPS = "steps"  # … how many reverse steps are walked
MEMBER = "single_seed"  # … the training seed of a single trained model
TRAINING_SEEDS = "training_seeds"  # … how many trained models are averaged

Places = NDArray[np.int64]  # [2, users]: items ahead of the target, other items with its score
ScoreWithSteps = Callable[[PackedBatch, torch.Generator, int], Tensor]


@dataclass(frozen=True)
class SamplingProbe:
    """What several samples a user gave.

    Attributes:
        single: places of the target under each sample, by number.
        ensembles: places under the mean distribution of the first M samples, by M.
        items: int32 `[samples, users, K]`, every sample's first items, best first.
    """

    single: dict[int, Places]
    ensembles: dict[int, Places]
    items: NDArray[np.int32]


@dataclass(frozen=True)
class StepsProbe:
    """What fewer reverse steps gave.

    Attributes:
        places: of the targets, by number of steps.
        seconds: by number of steps: wall time of scoring all users, without ranking.
    """

    places: dict[int, Places]
    seconds: dict[int, float]


def choose_users(n_users: int, limit: int | None, seed: int) -> Tensor:
    """Draw at most `limit` of the users 0 … `n_users - 1` (None: take all); ascending int64."""
    if limit is None or limit >= n_users:
        return torch.arange(n_users)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(n_users, generator=generator)[:limit].sort().values


@torch.inference_mode()
def probe_sampling(
    scorers: Sequence[Score],
    store: SequenceStore,
    examples: Examples,
    *,
    generators: Sequence[torch.Generator],
    sizes: Sequence[int],
    top_k: int = 20,
    ranking: Ranking = ALL,
    batch_size: int = 512,
    device: torch.device | str = "cpu",
) -> SamplingProbe:
    """Find every example's target with single samples and with ensembles of them.

    Args:
        scorers: one a sample, each gives `[batch, n_items]`: of one ranker, or of several trained models.
        store: all sequences, on the host.
        examples: whom to rank for.
        generators: one a sample, on `device`.
        sizes: numbers M of samples whose distributions are averaged.
        top_k: length of the lists kept of every sample; at most the catalogue.
        ranking: among all items, or among those that the user did not have before.
        batch_size: examples scored at once.
        device: where `scorers` compute.

    Raises:
        ValueError: a size is not within 1 … number of samples.
    """
    for size in sizes:
        if not 1 <= size <= len(scorers):
            raise ValueError(f"an ensemble of {size} cannot be made of {len(scorers)} samples")
    n, kept = len(examples), min(top_k, store.n_items)
    seen = SeenItems(store, examples, torch.device(device)) if ranking == UNSEEN else None
    single = {number: np.empty((2, n), dtype=np.int64) for number in range(len(scorers))}
    ensembles = {size: np.empty((2, n), dtype=np.int64) for size in sizes}
    items = np.empty((len(scorers), n, kept), dtype=np.int32)
    for batch, index in _batches(store, examples, batch_size, device):
        place = index.numpy()
        members = (
            _without(seen, score(batch, generator), index) for score, generator in zip(scorers, generators, strict=True)
        )
        for number, (scores, mixture) in enumerate(_mixtures(members)):
            single[number][:, place] = _places(scores, batch)
            items[number, place] = scores.topk(kept).indices.int().cpu().numpy()
            if number + 1 in ensembles:
                ensembles[number + 1][:, place] = _places(mixture, batch)
    return SamplingProbe(single, ensembles, items)


@torch.inference_mode()
def probe_steps(
    score: ScoreWithSteps,
    store: SequenceStore,
    examples: Examples,
    *,
    generators: Mapping[int, torch.Generator],
    ranking: Ranking = ALL,
    batch_size: int = 512,
    device: torch.device | str = "cpu",
) -> StepsProbe:
    """Find every example's target with different numbers of reverse steps, and take the time of scoring.

    Args:
        score: gives `[batch, n_items]` with a number of steps.
        store: all sequences, on the host.
        examples: whom to rank for.
        generators: by number of steps, on `device`.
        ranking: among all items, or among those that the user did not have before.
        batch_size: examples scored at once.
        device: where `score` computes.
    """
    places: dict[int, Places] = {}
    seconds: dict[int, float] = {}
    seen = SeenItems(store, examples, torch.device(device)) if ranking == UNSEEN else None
    warm_up, _ = next(_batches(store, examples, batch_size, device))
    score(warm_up, torch.Generator(device=device).manual_seed(0), min(generators))
    for steps, generator in generators.items():
        places[steps], seconds[steps] = np.empty((2, len(examples)), dtype=np.int64), 0.0
        for batch, index in _batches(store, examples, batch_size, device):
            _synchronise(device)
            began = time.perf_counter()
            scores = score(batch, generator, steps)
            _synchronise(device)
            seconds[steps] += time.perf_counter() - began
            places[steps][:, index.numpy()] = _places(_without(seen, scores, index), batch)
    return StepsProbe(places, seconds)


def probed_ranks_table(users: NDArray[np.int64], probed: Mapping[str, Mapping[int, Places]]) -> pd.DataFrame:
    """Return one row a kind, level and user: KIND, LEVEL, USER, GREATER, TIED; users in the order given."""
    return pd.concat(
        [
            pd.DataFrame({KIND: kind, LEVEL: level, columns.USER: users, columns.GREATER: greater, columns.TIED: tied})
            for kind, levels in probed.items()
            for level, (greater, tied) in levels.items()
        ],
        ignore_index=True,
    )


def places_at(table: pd.DataFrame, kind: str) -> dict[int, Places]:
    """Take the places of a kind, by level, from a `probed_ranks_table`."""
    rows = table[table[KIND] == kind]
    levels = np.unique(rows[LEVEL].to_numpy(np.int64)).tolist()
    kept = [columns.GREATER, columns.TIED]
    return {level: rows.loc[rows[LEVEL] == level, kept].to_numpy(np.int64).T for level in levels}


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


def _places(scores: Tensor, batch: PackedBatch) -> Places:
    found: Places = torch.stack(rank_in_scores(scores, batch.targets)).cpu().numpy()
    return found


def _without(seen: SeenItems | None, scores: Tensor, index: Tensor) -> Tensor:
    if seen is not None:
        seen.exclude(scores, index)
    return scores


def _synchronise(device: torch.device | str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
