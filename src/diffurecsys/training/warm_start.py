"""Begin a training from an earlier model of the same kind, though items have come and gone since."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from diffurecsys.errors import DataError
from diffurecsys.models.base import Ranker
from diffurecsys.models.weights import RankerWeights


def warm_start(earlier: RankerWeights, known: Sequence[str], identifiers: Sequence[str]) -> Callable[[Ranker], None]:
    """Return what puts an earlier model's parameters into a drawn ranker.

    What is one row an item is taken over by identifier, so that numbers may have changed; rows of new items stay as
    drawn. Buffers, which hold what was counted, are the new ranker's own.

    Args:
        earlier: weights of a ranker of the same family and size.
        known: identifiers of the items of `earlier`, by number.
        identifiers: those of the new ranker's items.
    """
    number = {identifier: place for place, identifier in enumerate(known)}
    pairs = [(new, number[identifier]) for new, identifier in enumerate(identifiers) if identifier in number]
    here, there = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)

    def start(ranker: Ranker) -> None:
        """Take over what fits.

        Raises:
            DataError: no item is common, or the earlier model has other parameters.
        """
        if not pairs:
            raise DataError("the earlier model knows none of the items: there is nothing to start from")
        with torch.no_grad():
            for name, weight in ranker.named_parameters():
                old = earlier.state.get(name)
                beyond = len(weight) - ranker.n_items if weight.dim() else -1  # rows that are no items: masks, padding
                if old is not None and beyond >= 0 and old.shape == (earlier.n_items + beyond, *weight.shape[1:]):
                    weight[here] = old[there]
                    if beyond:
                        weight[-beyond:] = old[-beyond:]
                elif old is not None and old.shape == weight.shape:
                    weight.copy_(old)
                else:
                    raise DataError(
                        f"the earlier model is no {type(ranker).__name__} of this size: {name} is "
                        f"{'missing' if old is None else tuple(old.shape)} there and {tuple(weight.shape)} here"
                    )

    return start
