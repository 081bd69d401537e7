"""Where the target stands in the whole catalogue, user by user: the table that every metric is computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffurecsys.collective import Team
from diffurecsys.data.packing import PackedBatch, Packer
from diffurecsys.data.split import StudyData
from diffurecsys.data.store import Examples, SequenceStore

Score = Callable[[PackedBatch, torch.Generator], Tensor]
Ranking = Literal["all", "unseen"]
ALL: Ranking = "all"  # the whole catalogue, the paper's protocol
UNSEEN: Ranking = "unseen"  # without the items that the user had before
RANKINGS = (ALL, UNSEEN)


@dataclass(frozen=True)
class Ranks:
    """Where each example's target stands, one row an example, in the order of the examples.

    A target that the user had before cannot be found among unseen items: there all others stand ahead of it.

    Attributes:
        user: int64, position of the user in the store.
        target: int64, the item to be found.
        greater: int64, items of the catalogue with a higher score than the target.
        tied: int64, other items with exactly its score.
        greater_unseen: like `greater`, counting only items that the user did not have before.
        tied_unseen: like `tied`, likewise.
        history_length: int64, items that the ranker saw.
        target_popularity: int64, interactions with the target in the training part.
    """

    user: NDArray[np.int64]
    target: NDArray[np.int64]
    greater: NDArray[np.int64]
    tied: NDArray[np.int64]
    greater_unseen: NDArray[np.int64]
    tied_unseen: NDArray[np.int64]
    history_length: NDArray[np.int64]
    target_popularity: NDArray[np.int64]

    def places(self, ranking: Ranking = ALL) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how many items stand ahead of each target and how many beside it."""
        return (self.greater, self.tied) if ranking == ALL else (self.greater_unseen, self.tied_unseen)

    def expected(self, ranking: Ranking = ALL) -> NDArray[np.float64]:
        """Return each target's mean rank when ties are broken at random, float64."""
        greater, tied = self.places(ranking)
        return np.asarray(1 + greater + tied / 2)


@dataclass(frozen=True)
class Sharing:
    """How several processes rank together: each scores every n-th batch, and all get the ranks of one process.

    Attributes:
        team: the processes.
        skip: draws from the generator what scoring a batch would; called for batches that another process scores.
    """

    team: Team
    skip: Callable[[PackedBatch, torch.Generator], None]

    def is_own(self, number: int) -> bool:
        """Whether this process scores a batch."""
        return number % self.team.size == self.team.rank


@torch.inference_mode()
def rank_targets(
    score: Score,
    data: StudyData,
    examples: Examples,
    *,
    generator: torch.Generator,
    batch_size: int = 512,
    max_score_bytes: int = 256 << 20,
    device: torch.device | str = "cpu",
    sharing: Sharing | None = None,
) -> Ranks:
    """Rank every example's target in the whole catalogue, and among the items that its user did not have before.

    Args:
        score: gives `[batch, n_items]`, higher is better.
        data: sequences and split, on the host.
        examples: whom to rank for.
        generator: passed to `score`; on `device`.
        batch_size: most examples scored at once; fewer where the scores would take more than `max_score_bytes`.
        max_score_bytes: bound for one float32 score matrix.
        device: where `score` computes.
        sharing: with whom; None: with nobody.

    Raises:
        ValueError: `score` gave NaN or the wrong shape.
    """
    store = data.store
    packer = Packer(store, examples, device)
    rows = max(1, min(batch_size, max_score_bytes // (4 * store.n_items)))
    places = torch.zeros((4, len(examples)), dtype=torch.int64)
    by_length = torch.argsort(examples.lengths, stable=True)  # like lengths together: least work a batch
    seen = SeenItems(store, examples, packer.device)
    for number, (batch, index) in enumerate(packer.batches(by_length, rows)):
        if sharing is not None and not sharing.is_own(number):
            sharing.skip(batch, generator)
            continue
        scores = score(batch, generator)
        _check(scores, batch, store.n_items)
        places[:2, index] = torch.stack(rank_in_scores(scores, batch.targets)).cpu()
        seen.exclude(scores, index)
        places[2:, index] = torch.stack(rank_in_scores(scores, batch.targets)).cpu()
    if sharing is not None:
        sharing.team.sum(places)
    target = store.items[examples.end].long()
    greater, tied, greater_unseen, tied_unseen = places.numpy()
    return Ranks(
        user=examples.users(store).numpy(),
        target=target.numpy(),
        greater=greater,
        tied=tied,
        greater_unseen=greater_unseen,
        tied_unseen=tied_unseen,
        history_length=examples.lengths.numpy(),
        target_popularity=data.popularity[target].numpy(),
    )


def rank_in_scores(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Say where each row's target stands among all items of the row.

    Args:
        scores: `[batch, n_items]`, higher is better; minus infinity excludes an item.
        targets: int64 `[batch]`.

    Returns:
        int64 `[batch]` numbers of items with a higher score (all others, for an excluded target), and of other items
        with the target's score.
    """
    of_target = scores.gather(1, targets[:, None])
    greater, tied = (scores > of_target).sum(1), (scores == of_target).sum(1) - 1
    excluded = of_target[:, 0] == float("-inf")
    return torch.where(excluded, scores.shape[1] - 1, greater), torch.where(excluded, 0, tied)


class SeenItems:
    """Removes from a ranking what the users had before, however long ago."""

    def __init__(self, store: SequenceStore, examples: Examples, device: torch.device) -> None:
        self._items = store.items.to(device)
        self._first = store.offsets[examples.users(store)]
        self._lengths = examples.end - self._first
        self._device = device

    def exclude(self, scores: Tensor, index: Tensor) -> None:
        """Set the scores of seen items to minus infinity, in place; row `r` belongs to example `index[r]`."""
        lengths = self._lengths[index]
        row = torch.repeat_interleave(torch.arange(len(index)), lengths)
        before = lengths.cumsum(0) - lengths
        position = torch.arange(len(row)) + (self._first[index] - before)[row]
        scores[row.to(self._device), self._items[position.to(self._device)].long()] = float("-inf")


def _check(scores: Tensor, batch: PackedBatch, n_items: int) -> None:
    if scores.shape != (len(batch), n_items):
        raise ValueError(f"scores must have the shape ({len(batch)}, {n_items}), got {tuple(scores.shape)}")
    if bool(scores.isnan().any()):
        raise ValueError(
            "the model's scores hold NaN, so nothing can be ranked: its weights are damaged or training diverged"
        )
