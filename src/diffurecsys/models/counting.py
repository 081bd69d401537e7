"""Sparse counts of what follows what: made from training spans, kept by rows, added up for histories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffurecsys.data.split import StudyData

PAIRS_AT_ONCE = 1 << 25  # sorted together: about 1 GB of work memory
VALUES_AT_ONCE = 1 << 22  # scores and entries in work together: 32 MB an array of float64
PRODUCTS_AN_ENTRY = 100  # multiplications of a dense product that take as long as adding one entry where it belongs


@dataclass(frozen=True)
class PairBlock:
    """Pairs of events whose first items lie in one range of the catalogue.

    Attributes:
        key: int64 `[different pairs]`, first item · n_items + second item, ascending.
        place: int32 `[pairs]`, position of each pair in `key`; pairs of distance 1 first, then those of 2, …
        counts: how many pairs there are of each distance.
    """

    key: Tensor
    place: Tensor
    counts: tuple[int, ...]


def count_pairs(data: StudyData, window: int) -> Iterator[PairBlock]:
    """Yield all pairs of training events of one user that are at most `window` apart, in ascending ranges of items.

    Args:
        data: sequences and split; of these only the training part is read.
        window: largest distance; 1 pairs each event with its successor.
    """
    train, n_items = data.split.train, data.store.n_items
    position = train.positions()
    left = torch.repeat_interleave(train.end, train.lengths) - position  # events from here to the user's last
    item = data.store.items[position].long()
    longest = min(window, int(train.lengths.max()) - 1) if len(train) else 0
    block = (data.popularity * max(longest, 1)).cumsum(0).div(PAIRS_AT_ONCE, rounding_mode="floor")[item]
    for number in block.unique().tolist():
        here = (block == number) & (left > 1)
        keys = []
        for distance in range(1, longest + 1):
            first = torch.nonzero(here & (left > distance)).flatten()
            keys.append(item[first] * n_items + item[first + distance])
        if keys:
            key, place = torch.unique(torch.cat(keys), return_inverse=True)
            yield PairBlock(key, place.int(), tuple(map(len, keys)))


@dataclass(frozen=True)
class SparseRows:
    """A matrix `[n_items, n_items]` of which only the entries above 0 are kept.

    Attributes:
        first: int64 `[n_items + 1]`; row `i` has the entries from `first[i]` to before `first[i + 1]`.
        column: int32 `[entries]`, ascending within a row.
        value: float32 `[entries]`.
    """

    first: Tensor
    column: Tensor
    value: Tensor


def weigh_pairs(
    blocks: Iterable[PairBlock],
    *,
    popularity: Tensor,
    distance_weight: Tensor,
    normalise: bool = False,
    damping: float = 0.0,
) -> SparseRows:
    """Sum the weights of the pairs of any two items.

    Sums are made in float64 and rounded, so that equal ones are equal in whatever order their terms came.

    Args:
        blocks: what `count_pairs` gave.
        popularity: int64 `[n_items]`, of which second items have at least 1.
        distance_weight: float64 `[distances]`, weight of a pair of distance 1, 2, …; 0 beyond.
        normalise: divide every row by its sum, at last.
        damping: divide by the second item's popularity to this power.
    """
    n_items = len(popularity)
    keys, values = [torch.empty(0, dtype=torch.int64)], [torch.empty(0, dtype=torch.float64)]
    for block in blocks:
        used = torch.tensor(block.counts[: len(distance_weight)])
        weight = torch.repeat_interleave(distance_weight[: len(used)], used)
        total = torch.zeros(len(block.key), dtype=torch.float64).index_add_(0, block.place[: len(weight)], weight)
        found = total > 0
        keys.append(block.key[found])
        values.append(total[found])
    key, value = torch.cat(keys), torch.cat(values)
    column = key % n_items
    if damping:
        value /= popularity.double().pow(damping)[column]
    first = torch.searchsorted(key, torch.arange(n_items + 1) * n_items)
    if normalise:
        row = torch.repeat_interleave(torch.arange(n_items), first.diff())
        value /= torch.zeros(n_items, dtype=torch.float64).index_add_(0, row, value)[row]
    return SparseRows(first, column.int(), value.float())


def add_rows(scores: Tensor, matrix: SparseRows, row: Tensor, item: Tensor, weight: Tensor) -> None:
    """Add `weight[t] · matrix[item[t]]` to `scores[row[t]]` for every t, in place.

    The way is the shorter one: entry by entry in float64, or a dense product in float32 over the items that occur.
    Neither depends on how threads meet.

    Args:
        scores: float64 `[rows, n_items]`.
        matrix: what is added.
        row: int64 `[tokens]`, ascending.
        item: int64 `[tokens]`.
        weight: float64 `[tokens]`.
    """
    n_rows, n_items = scores.shape
    length = matrix.first[item + 1] - matrix.first[item]
    different, place = torch.unique(item, return_inverse=True)
    if int(length.sum()) * PRODUCTS_AN_ENTRY > n_rows * len(different) * n_items:
        weights = _add_at(weight.new_zeros(n_rows * len(different)), row * len(different) + place, weight)
        weights = weights.float().view(n_rows, -1)
        product = weights.new_zeros(n_rows, n_items)
        for begin, end in _pieces(torch.full_like(different, n_items)):
            owner, entry = _entries(matrix, different[begin:end])
            dense = weights.new_zeros(end - begin, n_items)
            dense.view(-1)[owner * n_items + matrix.column[entry]] = matrix.value[entry]
            product.addmm_(weights[:, begin:end], dense)
        scores += product
        return
    for begin, end in _pieces(length):
        owner, entry = _entries(matrix, item[begin:end])
        target = row[begin:end][owner] * n_items + matrix.column[entry]
        _add_at(scores.view(-1), target, weight[begin:end][owner] * matrix.value[entry])


def _entries(matrix: SparseRows, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Positions in `rows`, and in the matrix's arrays, of all entries of the rows, one row after another."""
    length = matrix.first[rows + 1] - matrix.first[rows]
    owner = torch.repeat_interleave(length)
    shift = matrix.first[rows] - (length.cumsum(0) - length)
    return owner, torch.arange(len(owner), device=rows.device) + shift[owner]


def _pieces(cost: Tensor) -> Iterator[tuple[int, int]]:
    """Cut a sequence into pieces of a cost of about `VALUES_AT_ONCE`."""
    number = cost.cumsum(0).div(VALUES_AT_ONCE, rounding_mode="floor")
    ends = torch.unique_consecutive(number, return_counts=True)[1].cumsum(0).tolist()
    yield from zip([0, *ends[:-1]], ends, strict=True) if ends else ()


def _add_at(total: Tensor, place: Tensor, value: Tensor) -> Tensor:
    """Add `value` to flat `total` at `place`, which may repeat, in a fixed order of additions."""
    if total.is_cuda:  # index_add_ there adds in the order in which threads come; this one sorts
        return total.index_put_((place,), value, accumulate=True)
    return total.index_add_(0, place, value)
