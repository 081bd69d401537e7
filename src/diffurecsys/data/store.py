"""Interaction sequences and training examples as index arrays (torch only; nothing is ever padded or copied)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SequenceStore:
    """All users' item sequences, one after another.

    Attributes:
        items: int32 `[events]`, item ids in `0 … n_items-1`, users one after another, each in time order.
        offsets: int64 `[users + 1]`; user `u` owns `items[offsets[u]:offsets[u + 1]]`.
        n_items: size of the catalogue.
    """

    items: Tensor
    offsets: Tensor
    n_items: int

    def __post_init__(self) -> None:
        """Check the invariants that every consumer relies on.

        Raises:
            ValueError: offsets do not partition the items, or an item id lies outside the catalogue.
        """
        if self.items.dtype != torch.int32 or self.offsets.dtype != torch.int64:
            raise ValueError(f"items must be int32 and offsets int64, got {self.items.dtype} and {self.offsets.dtype}")
        if len(self.offsets) < 1 or int(self.offsets[0]) != 0 or int(self.offsets[-1]) != len(self.items):
            raise ValueError(f"offsets must run from 0 to the number of events ({len(self.items)})")
        if bool((self.offsets.diff() < 0).any()):
            raise ValueError("offsets must not decrease")
        if len(self.items) and not 0 <= int(self.items.min()) <= int(self.items.max()) < self.n_items:
            raise ValueError(
                f"item ids must lie in 0 … {self.n_items - 1}, got {int(self.items.min())} … {int(self.items.max())}"
            )

    @classmethod
    def from_lists(cls, sequences: Sequence[Sequence[int]], n_items: int) -> SequenceStore:
        """Build a store from Python sequences: for notebooks and tests, not for millions of rows."""
        lengths = torch.tensor([0, *(len(s) for s in sequences)], dtype=torch.int64)
        items = torch.tensor([item for s in sequences for item in s], dtype=torch.int32)
        return cls(items, lengths.cumsum(0), n_items)

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """int64 `[users]`: events per user."""
        return self.offsets.diff()

    def to(self, device: torch.device | str) -> SequenceStore:
        """Return the store with its arrays on `device`."""
        return SequenceStore(self.items.to(device), self.offsets.to(device), self.n_items)


@dataclass(frozen=True)
class Examples:
    """History -> target pairs as positions in a store's `items`: 16 bytes each.

    Attributes:
        start: int64 `[examples]`; history = `items[start:end]`, never empty.
        end: int64 `[examples]`; target = `items[end]`.
    """

    start: Tensor
    end: Tensor

    def __post_init__(self) -> None:
        """Check that there is one non-empty history per target.

        Raises:
            ValueError: lengths differ or a history is empty.
        """
        if self.start.shape != self.end.shape or self.start.dtype != torch.int64 or self.end.dtype != torch.int64:
            raise ValueError("start and end must be int64 arrays of one length")
        if bool((self.end <= self.start).any()):
            raise ValueError("every example needs a history of at least one item")

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.start)

    @property
    def lengths(self) -> Tensor:
        """int64 `[examples]`: history lengths."""
        return self.end - self.start

    def users(self, store: SequenceStore) -> Tensor:
        """int64 `[examples]`: the user each example belongs to."""
        return torch.searchsorted(store.offsets, self.end, right=True) - 1

    def __getitem__(self, index: Tensor | slice) -> Examples:
        """Return the examples at `index`, in that order."""
        return Examples(self.start[index], self.end[index])


@dataclass(frozen=True)
class Split:
    """Leave-one-out split: every prefix of the training part, and one example a user for the last two items."""

    train: Examples
    validation: Examples
    test: Examples


def leave_one_out(store: SequenceStore, *, max_length: int) -> Split:
    """Split each user's sequence: last item = test, the one before = validation, every prefix of the rest = training.

    Args:
        store: the sequences; users need at least three events.
        max_length: histories keep their last `max_length` items.

    Returns:
        Examples in user order; validation and test hold exactly one example a user.

    Raises:
        ValueError: a user has fewer than three events, or `max_length` is below one.
    """
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1, got {max_length}")
    short = torch.nonzero(store.lengths < 3).flatten()
    if len(short):
        raise ValueError(
            f"{len(short)} users have fewer than 3 events (first: user {int(short[0])} with "
            f"{int(store.lengths[short[0]])}); leave-one-out needs a history, a validation and a test item. "
            "Filter with a user threshold of at least 3."
        )
    first, last = store.offsets[:-1], store.offsets[1:] - 1
    position = torch.arange(len(store.items), dtype=torch.int64)
    user = torch.repeat_interleave(torch.arange(store.n_users), store.lengths)
    is_train_target = (position > first[user]) & (position < last[user] - 1)
    train_end, train_first = position[is_train_target], first[user[is_train_target]]

    def examples(beginning: Tensor, end: Tensor) -> Examples:
        return Examples(torch.maximum(beginning, end - max_length), end)

    return Split(examples(train_first, train_end), examples(first, last - 1), examples(first, last))
