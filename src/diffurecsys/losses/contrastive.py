"""The contrastive loss between two views of the same histories."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def info_nce(a: Tensor, b: Tensor, temperature: float, groups: Tensor | None = None) -> Tensor:
    """Mean over all 2 · batch views of -log softmax over all other views, read at the view's partner.

    Views are compared by inner products; pass unit vectors for cosines. Source: Chen et al., "A Simple Framework for
    Contrastive Learning of Visual Representations" (ICML 2020), NT-Xent.

    Args:
        a: `[batch, width]` one view of each history.
        b: `[batch, width]` the other.
        temperature: divides the products.
        groups: int64 `[batch]`; views of histories of one group are no negatives of each other. None: all are.
    """
    with torch.autocast(a.device.type, enabled=False):
        views = torch.cat([a, b]).float()
        scores = views @ views.T / temperature  # (2 batch, 2 batch)
        index = torch.arange(len(views), device=a.device)
        partner = index.roll(len(a))
        left_out = torch.eye(len(views), dtype=torch.bool, device=a.device)
        if groups is not None:
            groups = groups.repeat(2)
            left_out |= (groups[:, None] == groups) & (partner[:, None] != index)
        return F.cross_entropy(scores.masked_fill(left_out, float("-inf")), partner)
