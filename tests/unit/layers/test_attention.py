"""Attention on packed sequences against attention on each sequence alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from diffurecsys.data.packing import pack_histories
from diffurecsys.layers.attention import LONG, attention
from diffurecsys.layers.segments import Segments

HEADS = 2


def alone(query, key_value, lengths, *, one_each=False):
    """Attend sequence by sequence."""
    key, value = key_value.chunk(2, dim=-1)
    parts, begin = [], 0
    for number, length in enumerate(lengths):
        rows = slice(begin, begin + length)
        q = query[number : number + 1] if one_each else query[rows]
        q, k, v = (x.unflatten(-1, (HEADS, -1)).transpose(0, 1) for x in (q, key[rows], value[rows]))
        parts.append(F.scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(-2))
        begin += length
    return torch.cat(parts)


def segments_of(lengths):
    return Segments.of(pack_histories([[0] * length for length in lengths]))


LENGTHS = st.one_of(st.integers(1, 40), st.integers(LONG - 3, LONG + 20))


@settings(max_examples=60, deadline=None)
@given(st.lists(LENGTHS, min_size=1, max_size=70), st.booleans())
def test_equals_attention_on_each_sequence_alone_with_gradients(lengths, one_each):
    lengths = sorted(lengths)
    generator = torch.Generator().manual_seed(len(lengths))
    tokens = sum(lengths)
    shapes = [(len(lengths) if one_each else tokens, 8), (tokens, 16)]
    inputs = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    packed = attention(*inputs, segments_of(lengths), HEADS)
    reference = alone(*inputs, lengths, one_each=one_each)
    torch.testing.assert_close(packed, reference, atol=1e-5, rtol=1e-4)
    upstream = torch.randn(packed.shape, generator=generator)
    grads = torch.autograd.grad(packed, inputs, upstream)
    expected = torch.autograd.grad(reference, inputs, upstream)
    for grad, reference_grad in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, reference_grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("length", [1, 2, 40, LONG + 5])
@pytest.mark.parametrize("one_each", [False, True])
def test_a_single_sequence_without_gradients(length, one_each):
    generator = torch.Generator().manual_seed(length)
    query = torch.randn(1 if one_each else length, 8, generator=generator, dtype=torch.float64)
    key_value = torch.randn(length, 16, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        attended = attention(query, key_value, segments_of([length]), HEADS)
    scale = torch.finfo(torch.float64).eps * 300  # sums of at most 300 terms of size 1
    torch.testing.assert_close(attended, alone(query, key_value, [length], one_each=one_each), atol=scale, rtol=scale)


@pytest.mark.parametrize("lengths", [[1], [1, 1, 1], [7], [1, 100], [3] * 30 + [4] * 2 + [5] * 2])
def test_extreme_batches(lengths):
    x = torch.randn(sum(lengths), 24)
    query, key_value = x.split([8, 16], dim=1)
    packed = attention(query, key_value, segments_of(lengths), HEADS)
    torch.testing.assert_close(packed, alone(query, key_value, lengths), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("one_each", [False, True])
def test_gradients_against_finite_differences(one_each):
    lengths = [1, 2, 2, 4, 5]
    shapes = [(len(lengths) if one_each else sum(lengths), 4), (sum(lengths), 8)]
    inputs = [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes]
    assert torch.autograd.gradcheck(lambda q, kv: attention(q, kv, segments_of(lengths), HEADS), inputs)
