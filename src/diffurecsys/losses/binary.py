"""Binary cross-entropy of the target against a few items that the user did not have."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from diffurecsys.data.packing import PackedBatch
from diffurecsys.layers.item_table import gets_rows
from diffurecsys.layers.segments import Segments


def sample_negatives(batch: PackedBatch, n_items: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` items for every asked position, uniformly among those that do not stand in its sequence.

    A sequence is the history with what follows it. Items that the user had outside of it, before the window of a long
    history began, may be drawn.

    Args:
        batch: histories and targets.
        n_items: size of the catalogue.
        count: negatives a position.
        generator: on the batch's device.

    Returns:
        int64 `[asked, count]`.

    Raises:
        ValueError: a sequence holds the whole catalogue.
    """
    segments = Segments.of(batch)
    own = torch.arange(len(batch), device=batch.items.device)
    asked = segments.sequence if batch.everywhere else own
    following = batch.targets.index_select(0, segments.last) if batch.everywhere else batch.targets
    # one number for each pair of a sequence and an item of it
    pairs = torch.cat([segments.sequence * n_items + batch.items, own * n_items + following]).unique()
    if int(torch.div(pairs, n_items, rounding_mode="floor").bincount().amax()) == n_items:
        raise ValueError(f"a history holds all {n_items} items of the catalogue: there are no negatives to draw")
    drawn = torch.empty((len(asked), count), dtype=torch.int64, device=asked.device)
    flat, base = drawn.view(-1), (asked * n_items).repeat_interleave(count)
    missing = torch.arange(len(flat), device=asked.device)
    while len(missing):
        flat[missing] = torch.randint(n_items, (len(missing),), generator=generator, device=asked.device)
        candidate = base[missing] + flat[missing]
        place = torch.searchsorted(pairs, candidate).clamp_(max=len(pairs) - 1)
        missing = missing[pairs[place] == candidate]
    return drawn


def binary_cross_entropy(
    x: Tensor, items: Tensor, targets: Tensor, negatives: Tensor, *, calibration: float = 0.0
) -> Tensor:
    """Mean over asked positions of -β log σ(s⁺) - Σ log(1 - σ(s⁻)).

    β = α (t (1 - 1/α) + 1/α) with α = negatives / (n_items - 1), the share of the catalogue that is drawn, and t the
    calibration: t = 0 is plain binary cross-entropy (β = 1), t = 1 makes the scores tell probabilities as under the
    loss over the whole catalogue (β = α). Source: Petrov, Macdonald, "gSASRec: Reducing Overconfidence in Sequential
    Recommendation Trained with Negative Sampling" (RecSys 2023), Eq. 13 to 15. Published code replaces s⁺ by
    logit(σ(s⁺)^β), which needs float64; -log σ of that is -β log σ(s⁺), which does not.

    Args:
        x: `[asked, width]`.
        items: `[n_items, width]`.
        targets: int64 `[asked]`.
        negatives: int64 `[asked, count]`.
        calibration: t in [0, 1].
    """
    alpha = negatives.shape[1] / (len(items) - 1)
    beta = alpha * calibration * (1 - 1 / alpha) + 1
    positive = (x * F.embedding(targets, items, sparse=gets_rows(items))).sum(dim=1).float()
    negative = torch.bmm(F.embedding(negatives, items, sparse=gets_rows(items)), x[:, :, None])[
        :, :, 0
    ].float()  # (asked, count)
    return (beta * F.softplus(-positive) + F.softplus(negative).sum(dim=1)).mean()
