"""The contrastive loss between two views of the same histories."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from diffurecsys.collective import current_part, gather_rows, weighed_by


def info_nce(a: Tensor, b: Tensor, temperature: float, groups: Tensor | None = None) -> Tensor:
    """Mean over all 2 · batch views of -log softmax over all other views, read at the view's partner.

    Views are compared by inner products; pass unit vectors for cosines. Of several processes each reads its own
    histories' views, against all of the whole batch. Source: Chen et al., "A Simple Framework for
    Contrastive Learning of Visual Representations" (ICML 2020), NT-Xent.

    Args:
        a: `[batch, width]` one view of each history.
        b: `[batch, width]` the other.
        temperature: divides the products.
        groups: int64 `[batch]`; views of histories of one group are no negatives of each other. None: all are.
    """
    with torch.autocast(a.device.type, enabled=False):
        own = torch.cat([a, b]).float()
        part = current_part()
        if part is None:
            everyone, of_everyone, batch, first = own, groups, len(a), 0
        else:
            everyone = torch.cat([gather_rows(view.float(), part.histories) for view in (a, b)])
            of_everyone = None if groups is None else gather_rows(groups, part.histories)
            batch, first = len(part.lengths), sum(part.histories[: part.team.rank])
            if part.idle:
                return weighed_by(0, 0 * everyone.sum())
        scores = own @ everyone.T / temperature  # (2 own batch, 2 batch)
        index = torch.arange(len(everyone), device=a.device)
        itself = (first + torch.arange(len(a), device=a.device) + batch * index.new_tensor([[0], [1]])).flatten()
        partner = (itself + batch) % (2 * batch)
        left_out = itself[:, None] == index
        if groups is not None and of_everyone is not None:
            same = groups.repeat(2)[:, None] == of_everyone.repeat(2)
            left_out |= same & (partner[:, None] != index)
        loss = F.cross_entropy(scores.masked_fill(left_out, float("-inf")), partner)
        return weighed_by(len(own), loss)
