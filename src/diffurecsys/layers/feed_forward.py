"""The feed-forward layer; on the host a hand-written pass over row blocks that stay in the processor's cache."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from diffurecsys.layers.dropout import Dropout, DropoutMasks
from diffurecsys.layers.products import add_product, multiply, product_type, rounded

BLOCK_BYTES = 2 << 20  # of one hidden activation at a time
FEW = 64  # rows: calling a dozen operations costs more than they save

# GELU's tanh approximation is z · sigmoid(z (LINEAR + CUBIC z²)): the sigmoid is several times faster than the tanh
LINEAR = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715 * LINEAR
LOWERED = 1e4  # dropped units are moved this far below zero before GELU: there it and its slope are exactly zero


class FeedForward(nn.Module):
    """Two linear maps with a tanh-approximated GELU between (the published code's; the paper says ReLU)."""

    def __init__(self, width: int, dropout: float, inner: int | None = None) -> None:
        super().__init__()
        inner = 4 * width if inner is None else inner
        self.inner = nn.Linear(width, inner)
        self.outer = nn.Linear(inner, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Map `[tokens, width]` to `[tokens, width]`."""
        if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            hidden = F.gelu(self.inner(x), approximate="tanh")
            mapped: Tensor = self.outer(self.dropout(hidden, generator))
            return mapped
        masks = DropoutMasks(self.dropout.rate, generator, x.device) if self.dropout.active else None
        parameters = (self.inner.weight, self.inner.bias, self.outer.weight, self.outer.bias)
        if torch.is_grad_enabled():
            blocked: Tensor = _BlockedFeedForward.apply(x, *parameters, masks, product_type(x, self.inner.weight))
            return blocked
        if masks is None and len(x) <= FEW:
            few: Tensor = F.linear(F.gelu(F.linear(x, *parameters[:2]), approximate="tanh"), *parameters[2:])
            return few
        return _forward(x, *parameters, masks, None, product_type(x, self.inner.weight))


def _forward(
    x: Tensor,
    inner: Tensor,
    inner_bias: Tensor,
    outer: Tensor,
    outer_bias: Tensor,
    masks: DropoutMasks | None,
    before: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """Map `x`; keep the hidden pre-activations, dropped ones lowered by `LOWERED`, in `before` where it is given."""
    rows = _rows(inner)
    out, linear = torch.empty_like(x), x.new_tensor(LINEAR)
    shape = (min(rows, len(x)), len(inner))
    buffers = [x.new_empty(shape) for _ in range(2 if before is not None else 3)]
    inner, outer = inner.to(dtype), outer.to(dtype)
    for begin in range(0, len(x), rows):
        block = slice(begin, begin + rows)
        part = x[block]
        gate, scratch, *own = (buffer[: len(part)] for buffer in buffers)
        z = own[0] if before is None else before[block]
        multiply(z, part, inner.T, bias=inner_bias)
        if masks is not None:
            z.add_(masks.dropped(z.shape, out=scratch), alpha=LOWERED)
        hidden = _gate(z, linear, gate, scratch).mul_(z)
        multiply(out[block], hidden, outer.T, bias=outer_bias, scale=1 if masks is None else masks.scale)
    return out


class _BlockedFeedForward(torch.autograd.Function):
    """Keeps the hidden pre-activations; everything else is computed again, block by block."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        inner: Tensor,
        inner_bias: Tensor,
        outer: Tensor,
        outer_bias: Tensor,
        masks: DropoutMasks | None,
        dtype: torch.dtype,
    ) -> Tensor:
        before = x.new_empty((len(x), len(inner)))
        out = _forward(x, inner, inner_bias, outer, outer_bias, masks, before, dtype)
        ctx.save_for_backward(x, inner, outer, before)
        ctx.dtype = dtype
        ctx.scale = 1 if masks is None else masks.scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, inner, outer, before = ctx.saved_tensors
        rows, linear = _rows(inner), x.new_tensor(LINEAR)
        x_grad = torch.empty_like(x)
        inner_grad, outer_grad, bias_grad = torch.zeros_like(inner), torch.zeros_like(outer), x.new_zeros(len(inner))
        buffers = [x.new_empty((min(rows, len(x)), len(inner))) for _ in range(4)]
        inner, outer = inner.to(ctx.dtype), outer.to(ctx.dtype)
        for begin in range(0, len(x), rows):
            block = slice(begin, begin + rows)
            z, part, upstream = before[block], rounded(x[block], ctx.dtype), rounded(grad[block], ctx.dtype)
            gate, slope, hidden, z_grad = (buffer[: len(z)] for buffer in buffers)
            _gate(z, linear, gate, slope)  # leaves z² in `slope`
            torch.mul(z, gate, out=hidden)
            # GELU' = gate + hidden (1 - gate) (LINEAR + 3 CUBIC z²)
            torch.add(linear, slope, alpha=3 * CUBIC, out=slope).mul_(hidden)
            torch.addcmul(slope, slope, gate, value=-1, out=slope).add_(gate)
            multiply(z_grad, upstream, outer, scale=ctx.scale)
            z_grad.mul_(slope)
            add_product(outer_grad, upstream.T, rounded(hidden, ctx.dtype), scale=ctx.scale)
            bias_grad.add_(z_grad.sum(0))
            z_grad = rounded(z_grad, ctx.dtype)
            add_product(inner_grad, z_grad.T, part)
            multiply(x_grad[block], z_grad, inner)
        return x_grad, inner_grad, bias_grad, outer_grad, grad.sum(0), None, None


def _gate(z: Tensor, linear: Tensor, out: Tensor, square: Tensor) -> Tensor:
    """Write what GELU multiplies `z` by to `out`, and z² to `square`."""
    torch.mul(z, z, out=square)
    return torch.add(linear, square, alpha=CUBIC, out=out).mul_(z).sigmoid_()


def _rows(inner: Tensor) -> int:
    return max(1, BLOCK_BYTES // (inner.element_size() * len(inner)))
