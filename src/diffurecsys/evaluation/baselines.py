"""Rankers that only count the training part: what every trained model has to beat."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.store import Examples, SequenceStore
from diffurecsys.evaluation.ranks import training_popularity


class Baseline(Protocol):
    """A ranker made from the training part alone."""

    def __init__(self, store: SequenceStore, train: Examples) -> None:
        """Count."""
        ...

    def score(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Return `[batch, n_items]` scores."""
        ...


class Popularity:
    """Ranks items by their number of interactions in the training part, for everybody alike."""

    def __init__(self, store: SequenceStore, train: Examples) -> None:
        self._popularity = training_popularity(store, train).double()

    def score(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Return float64 `[batch, n_items]`; `generator` is not used."""
        return self._popularity.repeat(len(batch), 1)


class LastItemTransition:
    """First-order Markov chain: ranks items by how often they followed the history's last item in the training part.

    Items with equal counts, and all items after one that was never followed, are ranked by popularity.
    """

    def __init__(self, store: SequenceStore, train: Examples) -> None:
        popularity = training_popularity(store, train)
        self._back_off = popularity.double() / (1 + popularity.sum())  # below 1: decides between equal counts only
        last, following = store.items[train.end - 1].long(), store.items[train.end].long()
        pair, self._count = torch.unique(last * store.n_items + following, return_counts=True)
        self._following = pair % store.n_items
        self._first = torch.searchsorted(pair, torch.arange(store.n_items + 1) * store.n_items)

    def score(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Return float64 `[batch, n_items]`; `generator` is not used."""
        last = batch.items[batch.offsets[1:].long() - 1]
        scores = self._back_off.repeat(len(batch), 1)
        length = self._first[last + 1] - self._first[last]
        row = torch.repeat_interleave(torch.arange(len(batch)), length)
        entry = torch.arange(len(row)) + (self._first[last] - (length.cumsum(0) - length))[row]
        scores[row, self._following[entry]] += self._count[entry].double()
        return scores


BASELINES: dict[str, type[Baseline]] = {"popularity": Popularity, "last_item_transition": LastItemTransition}
