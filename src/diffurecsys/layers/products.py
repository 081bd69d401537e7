"""Products of float32 matrices in bfloat16, where the host's processor multiplies that faster; all else is float32.

Autocast hands bfloat16 on from one operation to the next, which on a host slows down more than it gains. Here the
factors are rounded, multiplied with float32 sums inside, and what comes out is float32 again: weights, normalisation,
attention's softmax, sums and gradients never are anything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

SMALL = 128 * 128  # numbers: with fewer, rounding costs what multiplying gains
ROWS = 128  # rounded matrices have a multiple of it: libraries compile their code anew for every shape they meet

_asked: ContextVar[torch.dtype | None] = ContextVar("type of products", default=None)


@contextmanager
def products_in(dtype: torch.dtype) -> Iterator[None]:
    """Have the products of float32 matrices on the host, of those layers and losses that ask here, be of `dtype`."""
    token = _asked.set(dtype)
    try:
        yield
    finally:
        _asked.reset(token)


def product_type(x: Tensor, weight: Tensor) -> torch.dtype:
    """Return the type in which `x` and a weight are multiplied: their own, or what `products_in` asks for.

    That is where both are float32 on the host and the weight is not `SMALL`.
    """
    asked = _asked.get()
    suited = x.is_cpu and x.dtype == weight.dtype == torch.float32 and weight.numel() >= SMALL
    return x.dtype if asked is None or not suited else asked


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x · weightᵀ + bias as `torch.nn.functional.linear`, multiplied in `product_type`.

    Args:
        x: `[rows, inputs]`.
        weight: `[outputs, inputs]`.
        bias: `[outputs]`.
    """
    dtype = product_type(x, weight)
    if dtype == x.dtype or x.dim() != 2:
        return F.linear(x, weight, bias)
    mapped: Tensor = _RoundedLinear.apply(x, weight, bias, dtype)
    return mapped


class Linear(nn.Linear):
    """A linear map multiplied in `product_type`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `[…, inputs]` to `[…, outputs]`."""
        return linear(x, self.weight, self.bias)


class _RoundedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
    ) -> Tensor:
        factor, weights = rounded(x, dtype), weight.to(dtype)
        ctx.save_for_backward(factor, weights)
        ctx.biased = bias is not None
        out = F.linear(factor, weights)[: len(x)].to(x.dtype)
        return out if bias is None else out.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, weight = ctx.saved_tensors
        upstream = rounded(grad, x.dtype)
        x_grad = (upstream @ weight)[: len(grad)].to(grad.dtype)
        weight_grad = (upstream.T @ x).to(grad.dtype)
        return x_grad, weight_grad, grad.sum(0) if ctx.biased else None, None


def rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `x` as a factor of the given type: itself if it is of that type, else a copy with zeros below `ROWS`.

    Args:
        x: `[rows, columns]`.
        dtype: of the product.

    Returns:
        `[rows, columns]`, or as many rows more as make a multiple of `ROWS`.
    """
    if x.dtype == dtype:
        return x
    factor = x.new_empty((-(-len(x) // ROWS) * ROWS, x.shape[1]), dtype=dtype)
    factor[: len(x)] = x
    factor[len(x) :] = 0
    return factor


def multiply(out: Tensor, a: Tensor, b: Tensor, *, bias: Tensor | None = None, scale: float = 1.0) -> None:
    """Write bias + scale · a · b to `out`, multiplied in the type of `b`; `a` may have more rows than `out`."""
    if b.dtype == out.dtype:
        torch.addmm(out if bias is None else bias, a, b, beta=0 if bias is None else 1, alpha=scale, out=out)
        return
    out.copy_((rounded(a, b.dtype) @ b)[: len(out)])
    if scale != 1.0:
        out.mul_(scale)
    if bias is not None:
        out.add_(bias)


def add_product(total: Tensor, a: Tensor, b: Tensor, *, scale: float = 1.0) -> None:
    """Add scale · a · b to `total`, multiplied in the type of both; `a` may have more rows than `total`."""
    if b.dtype == total.dtype:
        total.addmm_(a, b, alpha=scale)
    else:
        total.add_((a @ b)[: len(total)], alpha=scale)
