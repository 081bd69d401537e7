"""Histories of identifiers in, recommended identifiers out: what everything that serves a ranker is built on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from diffurecsys.columns import ITEM, ITEM_ID
from diffurecsys.data.packing import PackedBatch, pack_histories
from diffurecsys.errors import DataError
from diffurecsys.models.base import Ranker, VectorRanker, scorer
from diffurecsys.models.weights import load_weights
from diffurecsys.serving.top_items import TopItems, best_scores, top_items
from diffurecsys.training.seeding import derive_generator

Excluded = tuple[Tensor, Tensor] | None
Best = Callable[[PackedBatch, int, Excluded], TopItems]

BATCH_SIZE = 512  # histories asked at once …
MAX_SCORE_BYTES = 256 << 20  # … fewer where a ranker without vectors would need more for their float32 scores

Source = Literal["model", "popular", "none"]


@dataclass(frozen=True)
class Recommendations:
    """What one history was recommended.

    Attributes:
        items: identifiers, best first; fewer than asked for where no more were left.
        scores: one an item, higher is better. Of the model, or interactions in the training part.
        source: `model`; where the history held no known item, `popular`, or `none` if no popularity is at hand.
        unknown: items of the history that are not in the catalogue.
    """

    items: tuple[str, ...]
    scores: tuple[float, ...]
    source: Source
    unknown: int


class Recommender:
    """Recommends with a ranker, whatever its kind.

    Args:
        ranker: in evaluation mode.
        identifiers: of all items, by number.
        max_length: histories are cut to their last known items, so many, as they were in training and evaluation.
        popularity: `[n_items]` interactions, which decide what is recommended to histories without a known item; None
            recommends nothing to them.

    Raises:
        DataError: identifiers or popularity are not one an item, or an identifier stands twice.
    """

    def __init__(
        self, ranker: Ranker, identifiers: Sequence[str], max_length: int, popularity: Tensor | None = None
    ) -> None:
        for what, given in (("identifiers", identifiers), ("popularity", popularity)):
            if given is not None and len(given) != ranker.n_items:
                raise DataError(f"the ranker knows {ranker.n_items} items, but the {what} are of {len(given)}")
        self._ranker, self._identifiers, self._max_length = ranker, list(identifiers), max_length
        self._number = {identifier: number for number, identifier in enumerate(self._identifiers)}
        if len(self._number) < len(self._identifiers):
            raise DataError("an identifier stands twice among the items")
        self._popularity = None if popularity is None else popularity.float()
        self._device = next(chain(ranker.parameters(), ranker.buffers()), torch.empty(0)).device

    @classmethod
    def load(cls, weights: Path | str, vocabulary: Path | str, popularity: Tensor | None = None) -> Recommender:
        """Read a ranker from its weights, and the identifiers from the item vocabulary (Parquet) made beside them.

        Raises:
            FileNotFoundError: a file is absent.
            DataError: the weights are damaged, or belong to another vocabulary.
        """
        import pyarrow.parquet as pq

        found = load_weights(Path(weights))
        table = pq.read_table(vocabulary).sort_by(ITEM)
        return cls(found.build(), table[ITEM_ID].to_pylist(), found.max_length, popularity)

    def recommend(
        self,
        histories: Sequence[Sequence[str]],
        k: int = 10,
        *,
        exclude_history: bool = True,
        steps: int | None = None,
        seed: int = 0,
    ) -> list[Recommendations]:
        """Recommend items to follow each history.

        The same histories in the same order get the same items. Rankers that draw at random draw once for all
        histories of a call, so that there a history may meet other noise among others than alone.

        Args:
            histories: item identifiers, oldest first; unknown ones are left out and counted.
            k: how many items; the whole catalogue where that is smaller.
            exclude_history: recommend nothing that the history holds, however long ago.
            steps: of the reverse process, for rankers that have one; None: as their configuration says.
            seed: of everything random.

        Raises:
            ValueError: `k` or `steps` is out of range.
            TypeError: a history is a text instead of a list of them.
            DataError: the ranker's scores hold NaN.
        """
        self._check(k, steps)
        known = [self._known(history) for history in histories]
        unknown = [len(history) - len(numbers) for history, numbers in zip(histories, known, strict=True)]
        results = [self._without_history(k, missing) for missing in unknown]
        rows = [row for row, numbers in enumerate(known) if numbers]
        rows.sort(key=lambda row: min(len(known[row]), self._max_length))  # like lengths together: least work a batch
        with torch.inference_mode():
            best, batch_size = self._search(steps, derive_generator(seed, "recommend", self._device))
            for begin in range(0, len(rows), batch_size):
                part = rows[begin : begin + batch_size]
                asked = [known[row] for row in part]
                batch = pack_histories([numbers[-self._max_length :] for numbers in asked]).to(self._device)
                excluded = self._pairs(asked) if exclude_history else None
                found = best(batch, min(k, len(self._identifiers)), excluded)
                for row, items, scores in zip(part, found.items.tolist(), found.scores.tolist(), strict=True):
                    results[row] = self._named(items, scores, "model", unknown[row])
        return results

    def _check(self, k: int, steps: int | None) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        most = self._ranker.config.capabilities.steps
        if steps is not None and not most:
            raise ValueError(f"steps must not be given: {type(self._ranker).__name__} walks no reverse process")
        if steps is not None and not 1 <= steps <= most:
            raise ValueError(f"steps must lie in 1 … {most}, got {steps}")

    def _known(self, history: Sequence[str]) -> list[int]:
        """Turn identifiers into item numbers."""
        if isinstance(history, str):
            raise TypeError(f"a history is a list of item identifiers, got the text {history!r}")
        return [self._number[item] for item in history if item in self._number]

    def _pairs(self, histories: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Rows and items of whole histories, as `top_items` excludes them."""
        rows = torch.tensor([row for row, numbers in enumerate(histories) for _ in numbers])
        items = torch.tensor([item for numbers in histories for item in numbers])
        return rows.to(self._device), items.to(self._device)

    def _search(self, steps: int | None, generator: torch.Generator) -> tuple[Best, int]:
        """Return what finds the best items for a batch, and for how many histories at once."""
        ranker = self._ranker
        if isinstance(ranker, VectorRanker) and ranker.config.capabilities.vectors:
            items = ranker.items().float()
            walked = ranker.config.steps_for("serving") if steps is None else steps

            def by_vectors(batch: PackedBatch, k: int, excluded: Excluded) -> TopItems:
                return top_items(ranker.users(batch, generator, walked).float(), items, k, excluded)

            return by_vectors, BATCH_SIZE
        score = scorer(ranker, "serving", steps)

        def by_scores(batch: PackedBatch, k: int, excluded: Excluded) -> TopItems:
            return best_scores(score(batch, generator), k, excluded)

        return by_scores, max(1, min(BATCH_SIZE, MAX_SCORE_BYTES // (4 * ranker.n_items)))

    def _without_history(self, k: int, unknown: int) -> Recommendations:
        """Recommend to somebody of whom nothing is known."""
        if self._popularity is None:
            return Recommendations((), (), "none", unknown)
        best = best_scores(self._popularity[None].clone(), min(k, len(self._identifiers)))
        return self._named(best.items[0].tolist(), best.scores[0].tolist(), "popular", unknown)

    def _named(self, items: list[int], scores: list[float], source: Source, unknown: int) -> Recommendations:
        """Put identifiers in place of numbers; what was excluded ends the list."""
        if any(math.isnan(score) for score in scores):
            raise DataError("the ranker's scores hold NaN: its weights are damaged, or training diverged; train again")
        left = sum(score > -math.inf for score in scores)
        names = tuple(self._identifiers[item] for item in items[:left])
        return Recommendations(names, tuple(scores[:left]), source, unknown)
