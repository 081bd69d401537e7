"""Likelihood of targets over the whole catalogue, row by row and averaged over draws of what they depend on."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffurecsys.losses.cross_entropy import CHUNK_BYTES, MIN_ROWS


def marginal_cross_entropy(x: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Mean over rows of -log of the target's mean probability over draws.

    With one draw it is the cross-entropy; with several a draw may go astray as long as others find the target.

    Args:
        x: `[draws, batch, width]`.
        items: float32 `[n_items, width]`.
        targets: int64 `[batch]`.
    """
    draws, batch, width = x.shape
    found = catalogue_log_likelihood(x.reshape(-1, width), items, targets.repeat(draws)).view(draws, batch)
    return math.log(draws) - found.logsumexp(dim=0).mean()


def catalogue_log_likelihood(x: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of each row's target under softmax(x · itemsᵀ), float32 `[batch]`.

    Scores are made some rows at a time, and made again for the gradient: rows may weigh differently in what is
    minimised, which is not known before. Under autocast the products are in its type.

    Args:
        x: `[batch, width]`.
        items: float32 `[n_items, width]`.
        targets: int64 `[batch]`.
    """
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else items.dtype
    with torch.autocast(device, enabled=False):
        found: Tensor = _LogLikelihood.apply(x, items, targets, dtype)
    return found


class _LogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, items: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:  # noqa: ANN401
        asked, offered = x.to(dtype), items.to(dtype)
        found, total = items.new_empty(len(x)), items.new_empty(len(x))
        for rows in _chunks(x, items):
            scores = (asked[rows] @ offered.T).to(items.dtype)
            total[rows] = scores.logsumexp(dim=1)
            found[rows] = scores.gather(1, targets[rows, None])[:, 0] - total[rows]
        ctx.save_for_backward(asked, offered, targets, total)
        ctx.types = x.dtype, items.dtype
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:  # noqa: ANN401
        asked, offered, targets, total = ctx.saved_tensors
        of_x, of_items = ctx.types
        x_grad, items_grad = torch.empty_like(asked), torch.zeros_like(offered, dtype=of_items)
        for rows in _chunks(asked, offered):
            share = (asked[rows] @ offered.T).to(of_items).sub_(total[rows, None]).exp_().mul_(-grad[rows, None])
            share.scatter_add_(1, targets[rows, None], grad[rows, None])
            part = share.to(asked.dtype)
            x_grad[rows] = part @ offered
            items_grad += (part.T @ asked[rows]).to(of_items)
        return x_grad.to(of_x), items_grad, None, None


def _chunks(x: Tensor, items: Tensor) -> list[slice]:
    most = CHUNK_BYTES.get(x.device.type, CHUNK_BYTES["cuda"])
    rows = min(len(x), max(MIN_ROWS, most // (4 * len(items))))
    return [slice(begin, begin + rows) for begin in range(0, len(x), rows)]
