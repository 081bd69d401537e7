"""Ranks items by how often they followed the history's items: a Markov chain that looks further than one step.

score(j) = Σ over the history's items i of age a: age_decay^a · C[i, j]. C sums distance_decay^(d-1) over all pairs
(i, j) of one user's training events that stand d ≤ `window` apart. Popularity decides between what is nearly equal, and
between items that never followed. With a window of 1 and an age decay of 0 this is the first-order chain, which knows
the last item alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from diffurecsys.checks import at_least
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.models.base import Capabilities, CountRanker, Family, Ranker, RankerConfig
from diffurecsys.models.calibration import mean_ndcg, validation_batches
from diffurecsys.models.counting import PairBlock, SparseRows, count_pairs, sum_rows, weigh_pairs

CANDIDATES: dict[str, tuple[Any, ...]] = {  # of the search, setting by setting
    "normalise": (False, True),
    "age_decay": (0.0, 0.3, 0.5, 0.7, 0.8, 0.9),
    "distance_decay": (0.5, 0.7, 0.8, 0.9),
    "damping": (0.0, 0.1, 0.25, 0.5),
    "window": (1, 3, 10),
}
SETTINGS = ("window", "distance_decay", "age_decay", "normalise", "damping")
SEARCH_USERS, SEARCH_TOKENS = 4096, 1 << 17  # that settings are compared on, at most
BACK_OFF = 1 / 16  # of the smallest entry: what the most popular item gains at most; small, yet float32 can tell it


@dataclass(frozen=True)
class TransitionsConfig(RankerConfig):
    """What counts as a transition, and how much (defaults: good for sparse data such as Amazon Beauty).

    Attributes:
        window: largest distance of a pair; 1 pairs each event with its successor.
        distance_decay: weight of a pair for each further step between its events.
        age_decay: weight of a history's item for each later one; 0 leaves the last alone.
        normalise: divide what followed an item by its sum.
        damping: divide by the following item's training popularity to this power.
        search: choose all these on the validation targets, starting from the values above.
    """

    window: int = 10
    distance_decay: float = 0.8
    age_decay: float = 0.5
    normalise: bool = False
    damping: float = 0.0
    search: bool = True

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least(self, 1, "window")
        at_least(self, 0, "damping")
        for name in ("distance_decay", "age_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")

    @property
    def capabilities(self) -> Capabilities:
        """It counts."""
        return Capabilities(trains=False, schemes=())


class Transitions(CountRanker):
    """Counts weighted by distance, added up over the history by age.

    Attributes:
        settings: float64 `[5]`, what was configured or chosen, in the order of `SETTINGS`.
        back_off: float64 `[n_items]`, what popularity adds to the scores.
        first: int64 `[n_items + 1]`; with the two below the matrix C, see `SparseRows`.
        column: int32 `[entries]`.
        value: float32 `[entries]`.
    """

    config: TransitionsConfig
    settings: Tensor
    back_off: Tensor
    first: Tensor
    column: Tensor
    value: Tensor

    def observe(self, data: StudyData) -> None:
        """Count as configured."""
        self._count(self.config, data)

    def adopt(self, other: Ranker, data: StudyData) -> None:
        """Count what was observed with the other's settings."""
        assert isinstance(other, Transitions)
        found = dict(zip(SETTINGS, other.settings.tolist(), strict=True))
        kinds = {name: type(getattr(self.config, name)) for name in SETTINGS}
        self._count(replace(self.config, **{name: kinds[name](value) for name, value in found.items()}), data)

    def calibrate(self, data: StudyData, generator: torch.Generator) -> dict[str, Any]:
        """Choose the settings by NDCG@10 (all items ranked) of some validation users, one after another.

        Rounds over all settings are made until one changes nothing. What is counted is the training part, as before.

        Returns:
            The settings chosen and `validation_ndcg`, of those users; nothing where the search is off.
        """
        if not self.config.search:
            return {}
        batches = validation_batches(data, generator, users=SEARCH_USERS, tokens=SEARCH_TOKENS)
        blocks = list(count_pairs(data, max(self.config.window, *CANDIDATES["window"])))

        @lru_cache(maxsize=1)
        def matrix(counted: TransitionsConfig) -> SparseRows:
            return _matrix(counted, data, blocks)

        @cache
        def quality(settings: TransitionsConfig) -> float:
            self._keep(settings, matrix(replace(settings, age_decay=0.0)), data.popularity)
            return mean_ndcg(lambda batch: self.score(batch, generator), batches)

        best, before = self.config, None
        while best != before:
            before = best
            for name, values in CANDIDATES.items():
                best = max((best, *(replace(best, **{name: value}) for value in values)), key=quality)
        self._keep(best, matrix(replace(best, age_decay=0.0)), data.popularity)
        return {**{name: getattr(best, name) for name in SETTINGS}, "validation_ndcg": quality(best)}

    def score(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Return the weighted counts, float32 `[batch, n_items]`; nothing is drawn."""
        offsets, n_tokens = batch.offsets.long(), len(batch.items)
        end = torch.repeat_interleave(offsets[1:], offsets.diff(), output_size=n_tokens)
        age = end - 1 - torch.arange(n_tokens, device=end.device)
        weight = self.settings[SETTINGS.index("age_decay")].pow(age)  # 0 to the power of 0 is 1
        return sum_rows(SparseRows(self.first, self.column, self.value), self.back_off, offsets, batch.items, weight)

    def _count(self, settings: TransitionsConfig, data: StudyData) -> None:
        matrix = _matrix(replace(settings, age_decay=0.0), data, count_pairs(data, settings.window))
        self._keep(settings, matrix, data.popularity)

    def _keep(self, settings: TransitionsConfig, matrix: SparseRows, popularity: Tensor) -> None:
        smallest = float(matrix.value.min()) if len(matrix.value) else 1.0
        buffers = {
            "settings": torch.tensor([float(getattr(settings, name)) for name in SETTINGS], dtype=torch.float64),
            "back_off": popularity.double() * (BACK_OFF * smallest / (1 + int(popularity.max()))),
            "first": matrix.first,
            "column": matrix.column,
            "value": matrix.value,
        }
        for name, value in buffers.items():
            self.register_buffer(name, value.to(self._anchor.device))


def _matrix(settings: TransitionsConfig, data: StudyData, blocks: Iterable[PairBlock]) -> SparseRows:
    return weigh_pairs(
        blocks,
        popularity=data.popularity,
        distance_weight=settings.distance_decay ** torch.arange(settings.window, dtype=torch.float64),
        normalise=settings.normalise,
        damping=settings.damping,
    )


FAMILY = Family("transitions", TransitionsConfig, Transitions)
