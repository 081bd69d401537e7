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
