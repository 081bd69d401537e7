"""Cross-entropy over the whole catalogue without holding batch x catalogue scores."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffurecsys.layers.products import product_type
from diffurecsys.losses.blocked_cross_entropy import BlockedCrossEntropy

CHUNK_BYTES = {"cpu": 16 << 20, "cuda": 256 << 20}  # of scores at a time: near the size of a processor's cache …
MIN_ROWS = 128  # … but enough rows that reading a large catalogue pays: 512 MB of scores for a million items


def catalogue_cross_entropy(x: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Mean of -log softmax(x · itemsᵀ)[target] (Eq. 25).

    Scores, loss and gradients are computed together, some rows at a time. Under autocast, and on the host inside
    `products_in`, the products are in its type; the softmax's sums and those of the gradients are float32 throughout.

    Args:
        x: `[batch, width]`.
        items: float32 `[n_items, width]`.
        targets: int64 `[batch]`.
    """
    if x.dtype == items.dtype != product_type(x, items):
        return blocked_cross_entropy(x, items, targets)
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else items.dtype
    with torch.autocast(device, enabled=False):
        loss: Tensor = _CatalogueCrossEntropy.apply(x, items, targets, dtype)
    return loss


def blocked_cross_entropy(x: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Mean of -log softmax(x · itemsᵀ)[target], as `catalogue_cross_entropy`; on a CPU faster, sums in another order.

    Args:
        x: `[rows, width]`.
        items: float32 `[n_items, width]`.
        targets: int64 `[rows]`.
    """
    dtype = product_type(x, items)
    if x.dtype != items.dtype or not x.is_cpu or (dtype == x.dtype and torch.is_autocast_enabled("cpu")):
        return catalogue_cross_entropy(x, items, targets)
    loss: Tensor = BlockedCrossEntropy.apply(x, items, targets, dtype)
    return loss


class _CatalogueCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, items: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:  # noqa: ANN401
        chunk_bytes = CHUNK_BYTES.get(x.device.type, CHUNK_BYTES["cuda"])
        rows = min(len(x), max(MIN_ROWS, chunk_bytes // (4 * len(items))))
        asked, offered = x.to(dtype), items.to(dtype)
        scores = asked.new_empty((rows, len(items)))
        x_grad, items_grad = torch.empty_like(asked), torch.zeros_like(items)
        total, share = items.new_zeros(()), 1 / len(x)
        for begin in range(0, len(x), rows):
            part, target = asked[begin : begin + rows], targets[begin : begin + rows, None]
            chunk = torch.mm(part, offered.T, out=scores[: len(part)]).to(items.dtype)
            total += (chunk.amax(dim=1) - chunk.gather(1, target)[:, 0]).sum()
            torch.softmax(chunk, dim=1, out=chunk)
            total -= chunk.amax(dim=1).log().sum()  # the largest score less its log-probability is log Σ exp
            # gradient of the mean: (softmax - one-hot) / batch
            chunk.scatter_add_(1, target, chunk.new_full((len(part), 1), -1.0))
            chunk = chunk.to(dtype)
            gradient = x_grad[begin : begin + rows]
            torch.addmm(gradient, chunk, offered, beta=0, alpha=share, out=gradient)
            if dtype == items.dtype:
                items_grad.addmm_(chunk.T, part, alpha=share)
            else:
                items_grad.add_(chunk.T @ part, alpha=share)
        ctx.save_for_backward(x_grad.to(x.dtype), items_grad)
        return total * share

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:  # noqa: ANN401
        x_grad, items_grad = ctx.saved_tensors
        if grad.device.type == "cpu" and float(grad) == 1:  # as in training: a million items' gradient is not copied
            return x_grad, items_grad, None, None
        return x_grad * grad, items_grad * grad, None, None
