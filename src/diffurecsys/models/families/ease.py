"""A linear model without hidden layer, solved in closed form; it knows which items a history holds, not their order.

Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019). With X the users' training items as a
matrix of zeros and ones, B minimises ‖X - X B‖² + λ ‖B‖² with a diagonal of zeros: P = (XᵀX + λ I)^-1,
B_ij = -P_ij / P_jj. A history scores the sum of its items' rows of B, each item once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from diffurecsys.checks import at_least, positive
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.errors import DataError
from diffurecsys.models.base import Capabilities, CountRanker, Family, RankerConfig

PAIRS_AT_ONCE = 1 << 22  # of items of one user, counted together


@dataclass(frozen=True)
class EaseConfig(RankerConfig):
    """How strongly weights are pulled to 0, and how far a dense matrix of items may go.

    Attributes:
        regularisation: λ. The paper searched it by data set: hundreds where items have hundreds of users.
        max_items: larger catalogues are refused: memory grows with the square of the catalogue, time with its cube.
    """

    regularisation: float = 200.0
    max_items: int = 20_000

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        positive(self, "regularisation")
        at_least(self, 1, "max_items")

    @property
    def capabilities(self) -> Capabilities:
        """It is solved, not trained."""
        return Capabilities(trains=False, schemes=())


class Ease(CountRanker):
    """Items that go together, each pair corrected for all others.

    Attributes:
        weight: float32 `[n_items, n_items]`, B.
    """

    config: EaseConfig
    weight: Tensor

    def observe(self, data: StudyData) -> None:
        """Solve for B, in float32: beside B one more matrix of its size is held, at times two.

        Raises:
            DataError: the catalogue is larger than `max_items`.
        """
        if self.n_items > self.config.max_items:
            needed = 12 * self.n_items**2 / 2**30  # three float32 matrices, while one is inverted
            raise DataError(
                f"ease works on dense matrices of all pairs of items: {self.n_items} items need about {needed:.0f} GiB "
                f"of memory, and max_items is {self.config.max_items}. Leave ease out of study.rankers, filter the "
                "catalogue, or raise max_items where there is that much memory and time."
            )
        gram = torch.zeros(self.n_items, self.n_items)
        user, item = _items_of_users(data)
        for first, second in _pairs(user, item):
            gram.view(-1).index_add_(0, first * self.n_items + second, torch.ones(len(first)))
        gram.diagonal().add_(self.config.regularisation)
        weight = torch.cholesky_inverse(torch.linalg.cholesky(gram, out=gram))
        weight /= -weight.diagonal().clone()
        weight.fill_diagonal_(0)
        self.register_buffer("weight", weight.to(self._anchor.device))

    def score(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Return the summed rows of the history's items, float32 `[batch, n_items]`; nothing is drawn."""
        row = torch.repeat_interleave(batch.offsets.diff(), output_size=len(batch.items))
        once = torch.unique(row * self.n_items + batch.items)
        row, item = once.div(self.n_items, rounding_mode="floor"), once % self.n_items
        first = torch.searchsorted(row, torch.arange(len(batch), device=row.device))
        return F.embedding_bag(item, self.weight, first, mode="sum")


def _items_of_users(data: StudyData) -> tuple[Tensor, Tensor]:
    """Training items of every user, each once: int64 users, ascending, and items."""
    train, n_items = data.split.train, data.store.n_items
    user = torch.repeat_interleave(train.lengths)
    once = torch.unique(user * n_items + data.store.items[train.positions()])
    return once.div(n_items, rounding_mode="floor"), once % n_items


def _pairs(user: Tensor, item: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all pairs of items of one user, in both orders and with themselves, some at a time."""
    _, place, count = torch.unique_consecutive(user, return_inverse=True, return_counts=True)
    begin, many = (count.cumsum(0) - count)[place], count[place]  # of the user's items, for each of them
    piece = many.cumsum(0).div(PAIRS_AT_ONCE, rounding_mode="floor")
    _, sizes = torch.unique_consecutive(piece, return_counts=True)
    for some in torch.arange(len(item)).split(sizes.tolist()):
        owner = torch.repeat_interleave(many[some])
        within = torch.arange(len(owner)) - (many[some].cumsum(0) - many[some])[owner]
        yield item[some][owner], item[begin[some][owner] + within]


FAMILY = Family("ease", EaseConfig, Ease)
