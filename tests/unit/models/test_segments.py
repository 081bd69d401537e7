"""Attention on packed sequences against attention on each sequence alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from diffurecsys.data.packing import pack_histories
from diffurecsys.models.segments import FULL_BUCKET, Segments, attention


def alone(query, key, value, lengths, *, one_each=False):
    """Attend sequence by sequence."""
    parts, begin = [], 0
    for number, length in enumerate(lengths):
        rows = slice(begin, begin + length)
        q = query[number : number + 1] if one_each else query[rows]
        q, k, v = (x.transpose(0, 1) for x in (q, key[rows], value[rows]))
        parts.append(F.scaled_dot_product_attention(q, k, v).transpose(0, 1))
        begin += length
    return torch.cat(parts)


def segments_of(lengths):
    return Segments.of(pack_histories([[0] * length for length in lengths]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=70), st.booleans())
def test_equals_attention_on_each_sequence_alone_with_gradients(lengths, one_each):
    lengths = sorted(lengths)
    generator = torch.Generator().manual_seed(len(lengths))
    tokens = sum(lengths)
    shapes = [(len(lengths) if one_each else tokens, 2, 4), (tokens, 2, 4), (tokens, 2, 4)]
    inputs = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    packed = attention(*inputs, segments_of(lengths))
    reference = alone(*inputs, lengths, one_each=one_each)
    torch.testing.assert_close(packed, reference, atol=1e-5, rtol=1e-4)
    upstream = torch.randn(packed.shape, generator=generator)
    grads = torch.autograd.grad(packed, inputs, upstream, allow_unused=True)
    expected = torch.autograd.grad(reference, inputs, upstream)
    for grad, reference_grad in zip(grads, expected, strict=True):
        grad = torch.zeros_like(reference_grad) if grad is None else grad  # one key: softmax is constant
        torch.testing.assert_close(grad, reference_grad, atol=1e-5, rtol=1e-4)


def test_few_calls_for_many_lengths():
    lengths = [1] * 400 + [2] * 300 + list(range(3, 90))
    buckets = segments_of(lengths).buckets
    assert sum(bucket.count for bucket in buckets) == len(lengths)
    assert sum(bucket.tokens for bucket in buckets) == sum(lengths)
    assert len(buckets) < 25
    assert all(bucket.source is None for bucket in buckets if bucket.count >= 300)


def test_a_long_run_of_one_length_is_never_masked():
    buckets = segments_of([9, 9, *([10] * FULL_BUCKET), 11]).buckets
    assert [(bucket.count, bucket.source is None) for bucket in buckets] == [(2, True), (FULL_BUCKET, True), (1, True)]


@pytest.mark.parametrize("lengths", [[1], [1, 1, 1], [7], [1, 100]])
def test_extreme_batches(lengths):
    x = torch.randn(sum(lengths), 2, 4)
    torch.testing.assert_close(attention(x, x, x, segments_of(lengths)), alone(x, x, x, lengths), atol=1e-5, rtol=1e-4)
