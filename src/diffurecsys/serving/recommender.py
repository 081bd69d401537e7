"""Histories of identifiers in, recommended identifiers out: what everything that serves a ranker is built on."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from diffurecsys.data.packing import PackedBatch, pack_histories
from diffurecsys.errors import DataError
from diffurecsys.models.base import Ranker, VectorRanker, scorer
from diffurecsys.models.weights import load_weights
from diffurecsys.serving.identifiers import BadHistoryError, read_history
from diffurecsys.serving.top_items import TopItems, best_scores, top_items
from diffurecsys.training.seeding import derive_generator

Excluded = tuple[Tensor, Tensor] | None
Best = Callable[[PackedBatch, int, Excluded], TopItems]

BATCH_SIZE = 512  # histories asked at once …
MAX_SCORE_BYTES = 256 << 20  # … fewer where a ranker without vectors would need more for their float32 scores

Source = Literal["model", "popularity", "none"]


@dataclass(frozen=True)
class Recommendations:
    """What one history was recommended.

    Attributes:
        items: identifiers, best first; fewer than asked for where no more were left.
        scores: one an item, higher is better. Of the model, or interactions in the training part.
        source: `model`; `popularity` where the history held no known item; `none` where nothing could be recommended:
            no popularity is at hand, or the history is none.
        unknown: items of the history that are not in the catalogue.
        error: why the history is none, for a person to read; None for all others.
    """

    items: tuple[str, ...]
    scores: tuple[float, ...]
    source: Source
    unknown: int
    error: str | None = None


class Recommender:
    """Recommends with a ranker, whatever its kind.

    Args:
        ranker: in evaluation mode; its weights are not to change any more.
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
        ranker.settle()

    @classmethod
    def load(cls, weights: Path | str, catalogue: Path | str) -> Recommender:
        """Read a ranker from its weights, and the items from the catalogue (Parquet) kept beside them.

        Raises:
            FileNotFoundError: a file is absent.
            DataError: a file is damaged, or they do not belong together.
        """
        from diffurecsys.serving.catalogue import Catalogue  # reads Parquet; all else here needs PyTorch alone

        found, items = load_weights(Path(weights)), Catalogue.load(Path(catalogue))
        return cls(found.build(), items.identifiers, found.max_length, items.popularity)

    def recommend(
        self,
        histories: Sequence[Any],
        k: int = 10,
        *,
        exclude_history: bool = True,
        banned: Tensor | None = None,
        steps: int | None = None,
        seed: int = 0,
    ) -> list[Recommendations]:
        """Recommend items to follow each history.

        The same histories in the same order get the same items. Rankers that draw at random draw once for all
        histories of a call, so that there a history may meet other noise among others than alone.

        Args:
            histories: lists of item identifiers, texts or whole numbers, oldest first; unknown ones are left out and
                counted. What is none gets an `error` and leaves the others alone.
            k: how many items; the whole catalogue where that is smaller.
            exclude_history: recommend nothing that the history holds, however long ago.
            banned: bool `[n_items]`, what is recommended to nobody, see `banned_items`; None bans nothing.
            steps: of the reverse process, for rankers that have one; None: as their configuration says.
            seed: of everything random.

        Raises:
            ValueError: `k` or `steps` is out of range.
            DataError: the ranker's scores hold NaN.
        """
        self._check(k, steps)
        results, known = self._read(histories, k, banned)
        rows = [row for row, numbers in enumerate(known) if numbers]
        rows.sort(key=lambda row: min(len(known[row]), self._max_length))  # like lengths together: least work a batch
        with torch.inference_mode():
            best, batch_size = self._search(steps, banned, derive_generator(seed, "recommend", self._device))
            for begin in range(0, len(rows), batch_size):
                part = rows[begin : begin + batch_size]
                asked = [known[row] for row in part]
                batch = pack_histories([numbers[-self._max_length :] for numbers in asked]).to(self._device)
                excluded = self._pairs(asked) if exclude_history else None
                found = best(batch, min(k, len(self._identifiers)), excluded)
                for row, items, scores in zip(part, found.items.tolist(), found.scores.tolist(), strict=True):
                    results[row] = self._named(items, scores, "model", results[row].unknown)
        return results

    def banned_items(self, allow: Collection[str] | None, deny: Iterable[str] = ()) -> tuple[Tensor, tuple[str, ...]]:
        """Mark what may not be recommended.

        Args:
            allow: identifiers of all that may be; None is the whole catalogue.
            deny: identifiers of what may not be.

        Returns:
            Bool `[n_items]`, and the identifiers that the catalogue does not hold.
        """
        denied = list(deny)
        banned = torch.zeros(len(self._identifiers), dtype=torch.bool)
        if allow is not None:
            banned.fill_(True)
            banned[[self._number[item] for item in allow if item in self._number]] = False
        banned[[self._number[item] for item in denied if item in self._number]] = True
        unknown = tuple(item for item in (*(allow or ()), *denied) if item not in self._number)
        return banned.to(self._device), unknown

    def _check(self, k: int, steps: int | None) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        most = self._ranker.config.capabilities.steps
        if steps is not None and not most:
            raise ValueError(f"steps must not be given: {type(self._ranker).__name__} walks no reverse process")
        if steps is not None and not 1 <= steps <= most:
            raise ValueError(f"steps must lie in 1 … {most}, got {steps}")

    def _read(
        self, histories: Sequence[Any], k: int, banned: Tensor | None
    ) -> tuple[list[Recommendations], list[list[int]]]:
        """Turn identifiers into item numbers; results are those of histories without a known item, or the errors."""
        results: list[Recommendations] = []
        known: list[list[int]] = []
        popular: Recommendations | None = None
        for history in histories:
            try:
                identifiers = read_history(history)
            except BadHistoryError as error:
                known.append([])
                results.append(Recommendations((), (), "none", 0, str(error)))
                continue
            numbers = [self._number[item] for item in identifiers if item in self._number]
            known.append(numbers)
            if not numbers and popular is None:
                popular = self._without_history(k, banned)
            result = popular if popular is not None and not numbers else Recommendations((), (), "none", 0)
            results.append(replace(result, unknown=len(identifiers) - len(numbers)))
        return results, known

    def _pairs(self, histories: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Rows and items of whole histories, as `top_items` excludes them."""
        rows = torch.tensor([row for row, numbers in enumerate(histories) for _ in numbers])
        items = torch.tensor([item for numbers in histories for item in numbers])
        return rows.to(self._device), items.to(self._device)

    def _search(self, steps: int | None, banned: Tensor | None, generator: torch.Generator) -> tuple[Best, int]:
        """Return what finds the best items for a batch, and for how many histories at once."""
        ranker = self._ranker
        if isinstance(ranker, VectorRanker) and ranker.config.capabilities.vectors:
            items = ranker.item_vectors()
            walked = ranker.config.steps_for("serving") if steps is None else steps

            def by_vectors(batch: PackedBatch, k: int, excluded: Excluded) -> TopItems:
                return top_items(ranker.users(batch, generator, walked).float(), items, k, excluded, banned)

            return by_vectors, BATCH_SIZE
        score = scorer(ranker, "serving", steps)

        def by_scores(batch: PackedBatch, k: int, excluded: Excluded) -> TopItems:
            return best_scores(score(batch, generator), k, excluded, banned)

        return by_scores, max(1, min(BATCH_SIZE, MAX_SCORE_BYTES // (4 * ranker.n_items)))

    def _without_history(self, k: int, banned: Tensor | None) -> Recommendations:
        """Recommend to somebody of whom nothing is known."""
        if self._popularity is None:
            return Recommendations((), (), "none", 0)
        most = min(k, len(self._identifiers))
        best = best_scores(self._popularity[None].clone(), most, banned=None if banned is None else banned.cpu())
        return self._named(best.items[0].tolist(), best.scores[0].tolist(), "popularity", 0)

    def _named(self, items: list[int], scores: list[float], source: Source, unknown: int) -> Recommendations:
        """Put identifiers in place of numbers; what was excluded ends the list."""
        if any(math.isnan(score) for score in scores):
            raise DataError("the ranker's scores hold NaN: its weights are damaged, or training diverged; train again")
        left = sum(score > -math.inf for score in scores)
        names = tuple(self._identifiers[item] for item in items[:left])
        return Recommendations(names, tuple(scores[:left]), source, unknown)
