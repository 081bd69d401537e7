"""Tables of item embeddings whose gradient, of a large catalogue, holds the rows that a step used and no others."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffurecsys.collective import current_team

LARGE = 1_000_000  # rows from which on every use of a table would cost a whole second table of mostly zeros


def is_large(rows: int) -> bool:
    """Tell whether a table's gradients are sparse; those that several processes add up never are."""
    return rows >= LARGE and current_team() is None


def item_table(n_items: int, width: int) -> nn.Embedding:
    """Return an embedding of items, whose looked up rows alone get a gradient where the table is large."""
    return nn.Embedding(n_items, width, sparse=is_large(n_items))


def gets_rows(table: Tensor) -> bool:
    """Tell whether lookups are to give a table sparse gradients: a large one that is no function of another."""
    return table.is_leaf and is_large(len(table))


def rows_of(table: Tensor, index: Tensor) -> Tensor:
    """Take the rows `[index, width]` of a table `[rows, width]`; they alone get a gradient where it is large."""
    return F.embedding(index, table, sparse=True) if gets_rows(table) else table.index_select(0, index)


def densify_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Turn sparse gradients into dense ones, each once, after all uses of its table have been added up."""
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is not None and gradient.layout == torch.sparse_coo:
            parameter.grad = None  # so that no second copy outlives the next line
            parameter.grad = gradient.to_dense()
