"""Causal attention on packed sequences against a plain loop over sequences in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffurecsys.data.packing import pack_histories
from diffurecsys.layers.causal_attention import TILE, _dense_attention, causal_attention
from diffurecsys.layers.segments import Segments

HEADS, DISTANCES = 2, 310


def alone(query, key_value, bias, lengths, *, one_each=False):
    """Attend sequence by sequence, every product written out."""
    key, value = key_value.chunk(2, dim=-1)
    parts, begin = [], 0
    for number, length in enumerate(lengths):
        rows = slice(begin, begin + length)
        asked = query[number : number + 1] if one_each else query[rows]
        q, k, v = (x.unflatten(-1, (HEADS, -1)).transpose(0, 1) for x in (asked, key[rows], value[rows]))
        place = torch.arange(length)
        distance = (place[-1:] if one_each else place)[:, None] - place
        scores = q @ k.mT / q.shape[-1] ** 0.5
        if bias is not None:
            scores = scores + bias[:, distance.clamp(min=0)]
        weight = scores.masked_fill(distance < 0, float("-inf")).softmax(dim=-1)
        parts.append((weight @ v).transpose(0, 1).flatten(-2))
        begin += length
    return torch.cat(parts)


def segments_of(lengths):
    return Segments.of(pack_histories([[0] * length for length in lengths]))


def inputs_for(lengths, *, one_each, biased, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(len(lengths) if one_each else sum(lengths), width), (sum(lengths), 2 * width)]
    shapes += [(HEADS, DISTANCES)] if biased else []
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def compare(function, inputs, lengths, *, one_each, rounding):
    bias = inputs[2] if len(inputs) == 3 else None
    expected = alone(*inputs[:2], bias, lengths, one_each=one_each)
    upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = torch.autograd.grad(expected, inputs, upstream)
    own = [x.detach().to(rounding).requires_grad_() for x in inputs]
    attended = function(*own[:2], segments_of(lengths), HEADS, own[2] if len(own) == 3 else None)
    gradients = torch.autograd.grad(attended, own, upstream.to(rounding))
    # sums of at most 300 terms of size 1; a number of the bias is in as many sums as there are pairs at its distance
    scale = torch.finfo(rounding).eps * 300
    torch.testing.assert_close(attended.double(), expected, atol=scale, rtol=scale)
    for got, reference in zip(gradients, wanted, strict=True):
        largest = max(1.0, float(reference.abs().max()))
        torch.testing.assert_close(got.double(), reference, atol=4 * scale * largest, rtol=scale)


@pytest.mark.parametrize("length", [1, 2, 40, TILE + 5])
@pytest.mark.parametrize("one_each", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_a_single_sequence_without_gradients(length, one_each, biased):
    inputs = inputs_for([length], one_each=one_each, biased=biased)
    bias = inputs[2] if biased else None
    with torch.no_grad():
        attended = causal_attention(*inputs[:2], segments_of([length]), HEADS, bias)
        expected = alone(*inputs[:2], bias, [length], one_each=one_each)
    scale = torch.finfo(torch.float64).eps * 300  # sums of at most 300 terms of size 1
    torch.testing.assert_close(attended, expected, atol=scale, rtol=scale)


LENGTHS = st.one_of(st.integers(1, 40), st.integers(TILE - 3, TILE + 20), st.integers(1, 300))


@settings(max_examples=60, deadline=None)
@given(st.lists(LENGTHS, min_size=1, max_size=40), st.booleans(), st.booleans(), st.booleans())
def test_equals_attention_on_each_sequence_alone_with_gradients(lengths, one_each, biased, single):
    lengths = sorted(lengths)
    one_each = one_each and len(lengths) != sum(lengths)
    inputs = inputs_for(lengths, one_each=one_each, biased=biased)
    rounding = torch.float32 if single else torch.float64
    compare(causal_attention, inputs, lengths, one_each=one_each, rounding=rounding)


@pytest.mark.parametrize("one_each", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("lengths", [[1, 1, 3], [3] * 30 + [4] * 2 + [5] * 2, [7, 8, 90, 100, 300]])
def test_the_dense_calls_of_other_devices_give_the_same(lengths, one_each, biased):
    if one_each and not biased:
        pytest.skip("the last position sees all: that is attention without a mask")

    def dense(query, key_value, segments, heads, bias):
        return _dense_attention(query, key_value, segments, heads, bias, one_each=one_each)

    inputs = inputs_for(lengths, one_each=one_each, biased=biased)
    compare(dense, inputs, lengths, one_each=one_each, rounding=torch.float64)


@pytest.mark.parametrize("one_each", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_gradients_against_finite_differences(one_each, biased):
    lengths = [1, 2, 2, 4, 5]
    inputs = inputs_for(lengths, one_each=one_each, biased=biased, width=4)
    if biased:
        inputs[2] = inputs[2][:, :5].detach().requires_grad_()
    segments = segments_of(lengths)
    assert torch.autograd.gradcheck(lambda *x: causal_attention(x[0], x[1], segments, HEADS, *x[2:]), inputs)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("lengths", [[9], [2, 5, 6, 40], [30, 70, 150]])
def test_no_position_sees_a_later_one(lengths, biased):
    query, key_value, *bias = (x.detach() for x in inputs_for(lengths, one_each=False, biased=biased))
    segments = segments_of(lengths)
    before = causal_attention(query, key_value, segments, HEADS, *bias)
    changed = sum(lengths) - lengths[-1] // 2 - 1  # in the last sequence
    key_value = key_value.clone()
    key_value[changed] += 1
    after = causal_attention(query, key_value, segments, HEADS, *bias)
    assert torch.equal(before[:changed], after[:changed])
    assert (before[changed:] != after[changed:]).any(dim=1).all()


@pytest.mark.parametrize("biased", [False, True])
def test_a_sequence_does_not_feel_its_batch_mates(biased):
    lengths = [3, 5, 5, 6, 30, 33, 80, 99, 200]
    query, key_value, *bias = (x.detach().float() for x in inputs_for(lengths, one_each=False, biased=biased))
    together = causal_attention(query, key_value, segments_of(lengths), HEADS, *bias)
    begin = 0
    for length in lengths:
        rows = slice(begin, begin + length)
        single = causal_attention(query[rows], key_value[rows], segments_of([length]), HEADS, *bias)
        torch.testing.assert_close(single, together[rows], atol=1e-5, rtol=1e-5)
        begin += length
