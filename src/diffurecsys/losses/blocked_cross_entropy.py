"""Cross-entropy over the whole catalogue for many rows at once: blocks of items, whose scores stay in a fast cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffurecsys.layers.products import add_product, multiply, rounded

ROWS = 384  # at a time: all their scores are kept until their sum is known …
SCORES_BYTES = 32 << 20  # … fewer where these would take more …
MIN_ROWS = 128  # … but enough that reading a large catalogue pays: 512 MB of scores for a million items
ITEMS = 1024  # a block; its scores are exponentiated and summed before they leave the cache
LARGEST = 60.0  # exp of what lies between plus and minus this is a plain float32 number


class BlockedCrossEntropy(torch.autograd.Function):
    """Mean of -log softmax(x · itemsᵀ)[target], on the host.

    Every score is written once and read once more: while a block of items is in the cache it is exponentiated, summed
    and taken into the gradient of `x`; its share of the items' gradient follows when all sums are known. Scores that
    may be large are lowered by the largest so far, and what was summed before is lowered with them. Products, and the
    scores kept between them, are of the given type; sums, loss and gradients of that of `x` and `items`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, items: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:  # noqa: ANN401, D102
        asked, offered = rounded(x, dtype), items.to(dtype).split(ITEMS)
        fitting = SCORES_BYTES // (dtype.itemsize * len(items)) // MIN_ROWS * MIN_ROWS
        rows = min(len(asked), ROWS, max(MIN_ROWS, fitting))
        bounded = float(x.norm(dim=1).amax() * items.norm(dim=1).amax()) <= LARGEST
        x_grad, items_grad = torch.empty_like(x), torch.empty_like(items)
        total, share = x.new_zeros(()), 1 / len(x)
        offered_grad = items_grad.split(ITEMS)
        memory = x.new_empty(rows * len(items), dtype=dtype)
        for begin in range(0, len(x), rows):
            part, factor = x[begin : begin + rows], asked[begin : begin + rows]  # a rounded one may have rows of zeros
            target = items.index_select(0, targets[begin : begin + rows])
            blocks = memory[: len(factor) * len(items)].view(len(items), len(factor)).split(ITEMS)
            gradient = torch.zeros_like(part)
            sums, lowered, largest = x.new_zeros(len(factor)), [], x.new_full((len(factor),), float("-inf"))
            for block, chunk in zip(offered, blocks, strict=True):
                torch.mm(block, factor.T, out=chunk)  # (items, rows)
                if not bounded:
                    before, largest = largest, torch.maximum(largest, chunk.amax(dim=0))
                    chunk.sub_(largest)
                    lowered.append(largest)
                    fade = (before - largest).exp_()
                    sums.mul_(fade)
                    gradient.mul_(fade[: len(part), None])
                chunk.exp_()
                sums.add_(chunk.sum(dim=0, dtype=sums.dtype))
                add_product(gradient, chunk.T, block)
            sums, largest = sums[: len(part)], largest[: len(part)]
            total += (sums.log() - (part * target).sum(dim=1)).sum()
            if not bounded:
                total += largest.sum()
            torch.sub(gradient.div_(sums[:, None]), target, out=x_grad[begin : begin + rows])
            weight = share / sums
            scaled = part * weight[:, None]
            for number, (chunk, block_grad) in enumerate(zip(blocks, offered_grad, strict=True)):
                if not bounded:
                    scaled = part * (weight * (lowered[number][: len(part)] - largest).exp_())[:, None]
                (add_product if begin else multiply)(block_grad, chunk, rounded(scaled, dtype))
        items_grad.index_add_(0, targets, x, alpha=-share)
        ctx.save_for_backward(x_grad.mul_(share), items_grad)
        return total * share

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:  # noqa: ANN401, D102
        x_grad, items_grad = ctx.saved_tensors
        if float(grad) == 1:  # as in training
            return x_grad, items_grad, None, None
        return x_grad * grad, items_grad * grad, None, None
