"""Cross-entropy over the whole catalogue without holding batch x catalogue scores."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

CHUNK_BYTES = 16 << 20  # of scores at a time: near the size of a processor's cache, small beside the model
MIN_ROWS = 128  # … but enough rows that reading a large catalogue pays: 512 MB of scores for a million items


def catalogue_cross_entropy(x: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Mean of -log softmax(x · itemsᵀ)[target] (Eq. 25).

    On the host, scores, loss and gradients are computed together, some rows at a time; elsewhere this is PyTorch's
    own cross-entropy.

    Args:
        x: `[batch, width]`.
        items: `[n_items, width]`.
        targets: int64 `[batch]`.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return F.cross_entropy(x @ items.T, targets)
    loss: Tensor = _CatalogueCrossEntropy.apply(x, items, targets)
    return loss


class _CatalogueCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, items: Tensor, targets: Tensor) -> Tensor:  # noqa: ANN401
        rows = min(len(x), max(MIN_ROWS, CHUNK_BYTES // (4 * len(items))))
        scores = x.new_empty((rows, len(items)))
        x_grad, items_grad = torch.empty_like(x), torch.zeros_like(items)
        total, share = x.new_zeros(()), 1 / len(x)
        for begin in range(0, len(x), rows):
            part, target = x[begin : begin + rows], targets[begin : begin + rows, None]
            chunk = torch.mm(part, items.T, out=scores[: len(part)])
            total += (chunk.amax(dim=1) - chunk.gather(1, target)[:, 0]).sum()
            torch.softmax(chunk, dim=1, out=chunk)
            total -= chunk.amax(dim=1).log().sum()  # the largest score less its log-probability is log Σ exp
            # gradient of the mean: (softmax - one-hot) / batch
            chunk.scatter_add_(1, target, chunk.new_full((len(part), 1), -1.0))
            gradient = x_grad[begin : begin + rows]
            torch.addmm(gradient, chunk, items, beta=0, alpha=share, out=gradient)
            items_grad.addmm_(chunk.T, part, alpha=share)
        ctx.save_for_backward(x_grad, items_grad)
        return total * share

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        x_grad, items_grad = ctx.saved_tensors
        if float(grad) == 1:  # as training has it: a million items' gradient is not copied
            return x_grad, items_grad, None
        return x_grad * grad, items_grad * grad, None
