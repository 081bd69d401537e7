"""Ranks items by their number of interactions in the training part, for everybody alike."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.models.base import Capabilities, CountRanker, Family, RankerConfig


@dataclass(frozen=True)
class PopularityConfig(RankerConfig):
    """There is nothing to choose."""

    @property
    def capabilities(self) -> Capabilities:
        """It counts."""
        return Capabilities(trains=False, schemes=())


class Popularity(CountRanker):
    """The ranking that knows nothing of its user.

    Attributes:
        count: int64 `[n_items]`, interactions in the training part.
    """

    count: Tensor

    def observe(self, data: StudyData) -> None:
        """Count."""
        self.register_buffer("count", data.popularity.to(self._anchor.device, copy=True))

    def score(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Return the counts once for each history, exact up to 2^24; nothing is drawn."""
        return self.count.float().repeat(len(batch), 1)


FAMILY = Family("popularity", PopularityConfig, Popularity)
