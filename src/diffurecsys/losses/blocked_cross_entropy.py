"""Cross-entropy over the whole catalogue for many rows at once: blocks of items, whose scores stay in a fast cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffurecsys.losses.cross_entropy import catalogue_cross_entropy

ROWS = 384  # at a time: all their scores are kept until their sum is known …
SCORES_BYTES = 32 << 20  # … fewer where these would take more …
MIN_ROWS = 128  # … but enough that reading a large catalogue pays: 512 MB of scores for a million items
ITEMS = 1024  # a block; its scores are exponentiated and summed before they leave the cache
LARGEST = 60.0  # exp of what lies between plus and minus this is a plain float32 number


def blocked_cross_entropy(x: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Mean of -log softmax(x · itemsᵀ)[target], as `catalogue_cross_entropy`; faster on a CPU in float32.

    Every score is written once and read once more: while a block of items is in the cache it is exponentiated, summed
    and taken into the gradient of `x`; its share of the items' gradient follows when all sums are known. Scores that
    may be large are lowered by the largest so far, and what was summed before is lowered with them.

    Args:
        x: `[rows, width]`.
        items: float32 `[n_items, width]`.
        targets: int64 `[rows]`.
    """
    if x.device.type != "cpu" or torch.is_autocast_enabled("cpu") or x.dtype != items.dtype:
        return catalogue_cross_entropy(x, items, targets)
    loss: Tensor = _BlockedCrossEntropy.apply(x, items, targets)
    return loss


class _BlockedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, items: Tensor, targets: Tensor) -> Tensor:  # noqa: ANN401
        rows = min(len(x), ROWS, max(MIN_ROWS, SCORES_BYTES // (x.element_size() * len(items))))
        bounded = float(x.norm(dim=1).amax() * items.norm(dim=1).amax()) <= LARGEST
        x_grad, items_grad = torch.empty_like(x), torch.empty_like(items)
        total, share = x.new_zeros(()), 1 / len(x)
        offered, offered_grad = items.split(ITEMS), items_grad.split(ITEMS)
        memory = x.new_empty(rows * len(items))
        for begin in range(0, len(x), rows):
            part, target = x[begin : begin + rows], items.index_select(0, targets[begin : begin + rows])
            blocks = memory[: len(part) * len(items)].view(len(items), len(part)).split(ITEMS)
            gradient = torch.zeros_like(part)
            sums, lowered, largest = part.new_zeros(len(part)), [], part.new_full((len(part),), float("-inf"))
            for block, chunk in zip(offered, blocks, strict=True):
                torch.mm(block, part.T, out=chunk)  # (items, rows)
                if not bounded:
                    before, largest = largest, torch.maximum(largest, chunk.amax(dim=0))
                    chunk.sub_(largest)
                    lowered.append(largest)
                    fade = (before - largest).exp_()
                    sums.mul_(fade)
                    gradient.mul_(fade[:, None])
                chunk.exp_()
                sums.add_(chunk.sum(dim=0))
                gradient.addmm_(chunk.T, block)
            total += (sums.log() - (part * target).sum(dim=1)).sum()
            if not bounded:
                total += largest.sum()
            torch.sub(gradient.div_(sums[:, None]), target, out=x_grad[begin : begin + rows])
            weight = share / sums
            scaled = part * weight[:, None]
            for number, (chunk, block_grad) in enumerate(zip(blocks, offered_grad, strict=True)):
                if not bounded:
                    scaled = part * (weight * (lowered[number] - largest).exp_())[:, None]
                torch.addmm(block_grad, chunk, scaled, beta=1 if begin else 0, out=block_grad)
        items_grad.index_add_(0, targets, x, alpha=-share)
        ctx.save_for_backward(x_grad.mul_(share), items_grad)
        return total * share

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        x_grad, items_grad = ctx.saved_tensors
        if float(grad) == 1:  # as in training
            return x_grad, items_grad, None
        return x_grad * grad, items_grad * grad, None
