"""Sparse counts of what follows what: made from training spans, kept by rows, added up for histories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffurecsys.data.split import StudyData

PAIRS_AT_ONCE = 1 << 25  # sorted together: about 1 GB of work memory
CACHED_VALUES = 1 << 17  # scores in work together on a host: 1 MB of float64 stays in its caches
DEVICE_VALUES = 1 << 25  # and on a device: few launches
DENSE_VALUES = 1 << 22  # of the matrix, made dense at a time: 16 MB
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


def sum_rows(matrix: SparseRows, base: Tensor, offsets: Tensor, item: Tensor, weight: Tensor) -> Tensor:
    """Return `base + Σ_t weight[t] · matrix[item[t]]`, over the tokens of each history.

    The shorter way is taken: entry by entry in float64, or a dense product in float32 over the items that occur. How
    threads meet decides nothing.

    Args:
        matrix: what is added.
        base: float64 `[n_items]`.
        offsets: int64 `[histories + 1]`; history `b` has the tokens from `offsets[b]` to before `offsets[b + 1]`.
        item: int64 `[tokens]`.
        weight: float64 `[tokens]`.

    Returns:
        float32 `[histories, n_items]`.
    """
    n_rows, n_items = len(offsets) - 1, len(base)
    scores = torch.empty((n_rows, n_items), device=item.device)
    row = torch.repeat_interleave(offsets.diff(), output_size=len(item))
    length = matrix.first[item + 1] - matrix.first[item]
    different, place = torch.unique(item, return_inverse=True)
    if int(length.sum()) * PRODUCTS_AN_ENTRY > n_rows * len(different) * n_items:
        weights = _add_at(weight.new_zeros(n_rows * len(different)), row * len(different) + place, weight)
        _multiply(scores, matrix, different, weights.float().view(n_rows, -1)).add_(base)
        return scores
    at_once = (DEVICE_VALUES if item.is_cuda else CACHED_VALUES) // n_items + 1
    bounds = list(range(0, n_rows, at_once))
    tokens = [*offsets[bounds].tolist(), len(item)]
    for begin, first, last in zip(bounds, tokens[:-1], tokens[1:], strict=True):
        part = base.repeat(min(at_once, n_rows - begin), 1)
        owner, entry = _entries(matrix, item[first:last])
        column = (row[first:last] - begin)[owner] * n_items + matrix.column[entry]
        _add_at(part.view(-1), column, weight[first:last][owner] * matrix.value[entry])
        scores[begin : begin + at_once] = part
    return scores


def _multiply(scores: Tensor, matrix: SparseRows, rows: Tensor, weights: Tensor) -> Tensor:
    """Write `weights @ matrix[rows]` to `scores`, with a few dense rows at a time."""
    n_items = scores.shape[1]
    at_once = DENSE_VALUES // n_items + 1
    scores.zero_()
    for begin in range(0, len(rows), at_once):
        some = rows[begin : begin + at_once]
        owner, entry = _entries(matrix, some)
        dense = scores.new_zeros(len(some), n_items)
        dense.view(-1)[owner * n_items + matrix.column[entry]] = matrix.value[entry]
        scores.addmm_(weights[:, begin : begin + at_once], dense)
    return scores


def _entries(matrix: SparseRows, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Positions in `rows`, and in the matrix's arrays, of all entries of the rows, one row after another."""
    length = matrix.first[rows + 1] - matrix.first[rows]
    owner = torch.repeat_interleave(length)
    shift = matrix.first[rows] - (length.cumsum(0) - length)
    return owner, torch.arange(len(owner), device=rows.device) + shift[owner]


def _add_at(total: Tensor, place: Tensor, value: Tensor) -> Tensor:
    """Add `value` to flat `total` at `place`, which may repeat, in a fixed order of additions."""
    if total.is_cuda:  # index_add_ there adds in the order in which threads come; this one sorts
        return total.index_put_((place,), value, accumulate=True)
    return total.index_add_(0, place, value)
