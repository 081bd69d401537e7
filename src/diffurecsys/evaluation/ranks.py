"""Where the target stands in the whole catalogue, user by user: the table that every metric is computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffurecsys.data.packing import PackedBatch, Packer
from diffurecsys.data.store import Examples, SequenceStore

Score = Callable[[PackedBatch, torch.Generator], Tensor]


@dataclass(frozen=True)
class Ranks:
    """One row an example, in the order of the examples.

    Attributes:
        user: int64, position of the user in the store.
        target: int64, the item to be found.
        rank: float64, expected rank of the target when ties are broken at random: 1 + greater + tied / 2.
        n_tied: int64, other items with exactly the target's score.
        history_length: int64, items that the ranker saw.
        target_popularity: int64, interactions with the target in the training part.
    """

    user: NDArray[np.int64]
    target: NDArray[np.int64]
    rank: NDArray[np.float64]
    n_tied: NDArray[np.int64]
    history_length: NDArray[np.int64]
    target_popularity: NDArray[np.int64]


def training_popularity(store: SequenceStore, train: Examples) -> Tensor:
    """Count interactions in the training part, int64 `[n_items]`: training targets and the first item before them."""
    users = torch.unique(train.users(store))
    positions = torch.cat([train.end, store.offsets[users]])
    return torch.bincount(store.items[positions].long(), minlength=store.n_items)


@torch.inference_mode()
def rank_targets(
    score: Score,
    store: SequenceStore,
    examples: Examples,
    *,
    generator: torch.Generator,
    popularity: Tensor,
    exclude_seen: bool = False,
    batch_size: int = 512,
    max_score_bytes: int = 256 << 20,
    device: torch.device | str = "cpu",
) -> Ranks:
    """Rank every example's target in the whole catalogue.

    Args:
        score: gives `[batch, n_items]`, higher is better.
        store: all sequences, on the host.
        examples: whom to rank for.
        generator: passed to `score`; on `device`.
        popularity: int64 `[n_items]`, see `training_popularity`.
        exclude_seen: leave out every item that the user had before the target, however long ago. A target that is
            itself such an item cannot be recommended and gets the last rank, `n_items`.
        batch_size: most examples scored at once; fewer where the scores would take more than `max_score_bytes`.
        max_score_bytes: bound for one float32 score matrix.
        device: where `score` computes.

    Raises:
        ValueError: `score` gave NaN or the wrong shape.
    """
    packer = Packer(store, examples, device)
    rows = max(1, min(batch_size, max_score_bytes // (4 * store.n_items)))
    rank = torch.empty(len(examples), dtype=torch.float64)
    n_tied = torch.empty(len(examples), dtype=torch.int64)
    by_length = torch.argsort(examples.lengths, stable=True)  # like lengths together: least work a batch
    seen = SeenItems(store, examples, packer.device) if exclude_seen else None
    for batch, index in packer.batches(by_length, rows):
        scores = score(batch, generator)
        _check(scores, batch, store.n_items)
        if seen is not None:
            seen.exclude(scores, index)
        batch_rank, tied = rank_in_scores(scores, batch.targets)
        rank[index], n_tied[index] = batch_rank.cpu(), tied.cpu()
    target = store.items[examples.end].long()
    return Ranks(
        user=examples.users(store).numpy(),
        target=target.numpy(),
        rank=rank.numpy(),
        n_tied=n_tied.numpy(),
        history_length=examples.lengths.numpy(),
        target_popularity=popularity.cpu()[target].numpy(),
    )


def rank_in_scores(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Rank each row's target among all items of the row.

    Args:
        scores: `[batch, n_items]`, higher is better; minus infinity excludes an item.
        targets: int64 `[batch]`.

    Returns:
        float64 `[batch]` expected ranks when ties are broken at random (an excluded target has the last), and int64
        `[batch]` numbers of other items with the target's score.
    """
    of_target = scores.gather(1, targets[:, None])
    greater, tied = (scores > of_target).sum(1), (scores == of_target).sum(1) - 1
    excluded = of_target[:, 0] == float("-inf")
    greater = torch.where(excluded, scores.shape[1] - 1, greater)
    tied = torch.where(excluded, 0, tied)
    return 1 + greater + tied.double() / 2, tied


class SeenItems:
    """Removes from a ranking what the users had before."""

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
