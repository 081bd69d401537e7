"""A batch of one history as formulas of its length alone, for exporters that follow every operation once.

Packed batches are worked on bucket by bucket, with loops and layouts that depend on lengths. Of a single history all
that is left are whole matrices, so a graph recorded for one length holds for all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from diffurecsys.data.packing import PackedBatch
from diffurecsys.layers.feed_forward import FeedForward
from diffurecsys.layers.segments import Bucket, Segments
from diffurecsys.models.families.hstu import TransducerBlock


class OneHistory(Segments):
    """The borders of a single history; its length may be a symbol."""

    @property
    def last(self) -> Tensor:
        """Index of the last token."""
        return self.place[-1:]

    @property
    def sequence(self) -> Tensor:
        """Zeros."""
        return torch.zeros_like(self.place)

    @property
    def place(self) -> Tensor:
        """0 … length - 1."""
        return torch.arange(self.lengths[0])

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """One, without empty places."""
        return (Bucket(1, self.lengths[0], self.lengths[0]),)

    causal_buckets = buckets


def batch_of(items: Tensor) -> PackedBatch:
    """Make a batch of one history, int64 `[length]`."""
    length = items.shape[0]
    offsets = torch.stack([torch.zeros((), dtype=torch.int64), torch.tensor(0) + length]).int()
    return PackedBatch(items, offsets, (length,), torch.zeros(1, dtype=torch.int64))


def dense_attention(query: Tensor, key_value: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """Attend from `[queries, width]` to `[length, 2 width]`; `mask` is added to scores `[heads, queries, length]`."""
    q, key, value = (part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in (query, *key_value.chunk(2, dim=-1)))
    scores = q @ key.mT * q.shape[-1] ** -0.5
    weight = (scores if mask is None else scores + mask).softmax(-1)
    attended: Tensor = (weight @ value).transpose(0, 1).flatten(-2)
    return attended


def _plain(query: Tensor, key_value: Tensor, borders: Segments, heads: int) -> Tensor:
    return dense_attention(query, key_value, heads, None)


def _distances(query: Tensor, length: int) -> Tensor:
    """How far each key stands before each query, the last of which is the last position: `[queries, length]`."""
    asking = torch.arange(length)[length - query.shape[0] :]
    return asking[:, None] - torch.arange(length)


def _causal(
    query: Tensor, key_value: Tensor, borders: Segments, heads: int, distance_bias: Tensor | None = None
) -> Tensor:
    before = _distances(query, borders.lengths[0])
    mask = torch.where(before < 0, float("-inf"), 0.0)
    if distance_bias is not None:
        mask = mask + distance_bias[:, before.clamp(min=0)]
    return dense_attention(query, key_value, heads, mask)


def _relative(query: Tensor, key_value: Tensor, borders: Segments, heads: int, bias: Tensor) -> Tensor:
    middle = bias.shape[1] // 2
    return dense_attention(query, key_value, heads, bias[:, middle - _distances(query, borders.lengths[0])])


def _gru(gru: nn.GRU, x: Tensor, borders: Segments) -> Tensor:
    states: Tensor = gru(x[:, None])[0][:, 0]
    return states


def _feed_forward(layer: FeedForward, x: Tensor, generator: Generator | None) -> Tensor:
    mapped: Tensor = layer.outer(F.gelu(layer.inner(x), approximate="tanh"))
    return mapped


def _transduce(block: TransducerBlock, value_query_key: Tensor, borders: Segments) -> Tensor:
    value, query, key = value_query_key.unflatten(1, (3, block.heads, -1)).permute(1, 2, 0, 3)
    before = _distances(query[0], borders.lengths[0])
    bias = torch.where(before < 0, 0.0, block.distance_bias[before.clamp(min=0)])
    weight = torch.where(before < 0, 0.0, F.silu(query @ key.mT + bias)) / block.max_length
    attended: Tensor = (weight @ value).transpose(0, 1).flatten(1)
    return attended


@contextmanager
def one_history_at_a_time() -> Iterator[None]:
    """Have networks take `batch_of` one history by whole matrices, as long as the block lasts."""
    plain = {"attention": _plain, "causal_attention": _causal, "relative_attention": _relative, "run_gru": _gru}
    with ExitStack() as stack:
        for module in _with_any(plain):
            for name, function in plain.items():
                if callable(getattr(module, name, None)):
                    stack.enter_context(patch.object(module, name, function))
        stack.enter_context(patch.object(Segments, "of", classmethod(_of)))
        stack.enter_context(patch.object(FeedForward, "forward", _feed_forward))
        stack.enter_context(patch.object(TransducerBlock, "_attend", _transduce))
        yield


def _of(cls: type[Segments], batch: PackedBatch) -> Segments:
    return OneHistory(batch.offsets, batch.lengths)


def _with_any(names: Iterable[str]) -> list[ModuleType]:
    ours = [module for name, module in sys.modules.items() if name.startswith("diffurecsys.") and module is not None]
    return [module for module in ours if any(callable(getattr(module, name, None)) for name in names)]


class Draws:
    """Puts given tensors in the place of normal draws, in their order; without any, counts and keeps the shapes."""

    def __init__(self, given: tuple[Tensor, ...] | None = None) -> None:
        self._given, self._used = given, 0
        self.shapes: list[tuple[Any, ...]] = []

    def __call__(self, *size: Any, generator: Generator | None = None, **how: Any) -> Tensor:  # noqa: ANN401
        """Stand for `torch.randn`."""
        shape = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else tuple(size)
        self.shapes.append(shape)
        if self._given is None:
            return torch.zeros(shape)
        self._used += 1
        return self._given[self._used - 1].clone()  # what is drawn may be scaled in place
