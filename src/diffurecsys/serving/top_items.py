"""The best items for each history, found block by block: batch x catalogue scores never exist at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_SCORES = 1 << 22  # scores held at once: 16 MB
STRETCH = 32  # neighbouring items whose best one speaks for all


@dataclass(frozen=True)
class TopItems:
    """Recommendations, best first.

    Attributes:
        items: int64 `[batch, k]`; among equal scores the item with the smaller number comes first.
        scores: float32 `[batch, k]`; minus infinity where fewer than k items were left to recommend.
    """

    items: Tensor
    scores: Tensor


def top_items(
    x: Tensor,
    items: Tensor,
    k: int,
    excluded: tuple[Tensor, Tensor] | None = None,
    banned: Tensor | None = None,
) -> TopItems:
    """Find the k items with the largest inner products.

    Args:
        x: float32 `[batch, width]`.
        items: float32 `[n_items, width]`.
        k: how many; at most the catalogue.
        excluded: rows and items, int64 `[pairs]` each, that may not be recommended.
        banned: bool `[n_items]`, what may be recommended to nobody.

    Raises:
        ValueError: k is not within 1 … n_items.
    """
    n_items = len(items)
    _check(k, n_items)
    block = max(k, BLOCK_SCORES // max(1, len(x)))
    scores = x.new_empty((len(x), 0))
    found = torch.empty((len(x), 0), dtype=torch.int64, device=x.device)
    for begin in range(0, n_items, block):
        part = x @ items[begin : begin + block].T
        if banned is not None:
            part.masked_fill_(banned[begin : begin + block], float("-inf"))
        if excluded is not None:
            rows, taken = excluded
            here = (taken >= begin) & (taken < begin + block)
            part[rows[here], taken[here] - begin] = float("-inf")
        if scores.shape[1] < k:
            scores, found = _merge(scores, found, part, begin, k)
        else:  # most later blocks hold nothing better for most rows
            better = (~(part.amax(1) <= scores[:, -1])).nonzero()[:, 0]  # NaN is kept, and found, too
            scores[better], found[better] = _merge(scores[better], found[better], part[better], begin, k)
    return TopItems(found, scores)


def _merge(scores: Tensor, found: Tensor, part: Tensor, begin: int, k: int) -> tuple[Tensor, Tensor]:
    """Keep the k best of those found so far and of a block that begins at item `begin`."""
    number = torch.arange(begin, begin + part.shape[1], device=part.device).expand_as(part)
    part, number = _best(part, number, k)
    if not scores.shape[1]:
        return part, number
    return _best(torch.cat([scores, part], dim=1), torch.cat([found, number], dim=1), k)


def best_scores(
    scores: Tensor,
    k: int,
    excluded: tuple[Tensor, Tensor] | None = None,
    banned: Tensor | None = None,
) -> TopItems:
    """Find the k largest scores of every row.

    Args:
        scores: float32 `[batch, n_items]`; excluded ones are overwritten.
        k: how many; at most the catalogue.
        excluded: rows and items, int64 `[pairs]` each, that may not be recommended.
        banned: bool `[n_items]`, what may be recommended to nobody.

    Raises:
        ValueError: k is not within 1 … n_items.
    """
    _check(k, scores.shape[1])
    if banned is not None:
        scores.masked_fill_(banned, float("-inf"))
    if excluded is not None:
        scores[excluded] = float("-inf")
    value, number = _best(scores, torch.arange(scores.shape[1], device=scores.device).expand_as(scores), k)
    return TopItems(number, value)


def _check(k: int, n_items: int) -> None:
    if not 1 <= k <= n_items:
        raise ValueError(f"k must lie in 1 … {n_items} (the catalogue), got {k}")


def _best(scores: Tensor, number: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Keep each row's k largest scores in descending order; of equal ones those that stand first."""
    if scores.shape[1] >= 4 * STRETCH * (k + 1):
        scores, number = _promising(scores, number, k)
    if k < scores.shape[1]:
        value, place = scores.topk(k + 1, dim=1)
        place = place[:, :k].sort(dim=1).values
        undecided = (value[:, -1] == value[:, -2]).nonzero()[:, 0]  # topk keeps any of several equal scores
        if len(undecided):
            place[undecided] = scores[undecided].sort(dim=1, descending=True, stable=True).indices[:, :k].sort().values
        scores, number = scores.gather(1, place), number.gather(1, place)
    order = scores.sort(dim=1, descending=True, stable=True).indices
    return scores.gather(1, order), number.gather(1, order)


def _promising(scores: Tensor, number: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Keep the k stretches of neighbours whose best are best, which hold each row's k best: ten times faster to search.

    Where the k-th and the next stretch are equally good all is kept: which of equal scores comes first must not change.
    """
    whole = scores.shape[1] // STRETCH * STRETCH
    best = scores[:, :whole].unflatten(1, (-1, STRETCH)).amax(2)
    value, stretch = best.topk(k + 1, dim=1)
    if not bool((value[:, k - 1] > value[:, k]).all()):
        return scores, number
    stretch = stretch[:, :k].sort(dim=1).values[:, :, None] * STRETCH
    place = (stretch + torch.arange(STRETCH, device=scores.device)).flatten(1)
    rest = torch.arange(whole, scores.shape[1], device=scores.device).expand(len(scores), -1)
    place = torch.cat([place, rest], dim=1)
    return scores.gather(1, place), number.gather(1, place)
