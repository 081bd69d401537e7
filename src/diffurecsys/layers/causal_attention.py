"""Softmax attention in which no position of a packed sequence sees a later one, with or without a bias by distance."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from diffurecsys.layers.attention import (
    attention,
    attention_of_one,
    by_head,
    flash_attention,
    places,
    put_back,
    softmax,
    softmax_gradient,
)
from diffurecsys.layers.segments import Bucket, Segments

TILE = 64  # queries at a time: keys after the last of them are never multiplied
CHUNK_BYTES = 1 << 20  # of scores at a time, so that they stay in the processor's cache


def causal_attention(
    query: Tensor, key_value: Tensor, segments: Segments, heads: int, distance_bias: Tensor | None = None
) -> Tensor:
    """Attend from every token, or from the last of every sequence, to itself and what stands before it.

    Sequences of one call are laid out from the left, so nothing that a causal row reaches is ever empty.

    Args:
        query: `[tokens, width]`; or `[batch, width]`, the last position of every sequence.
        key_value: `[tokens, 2 width]`, keys beside values.
        segments: the borders between sequences.
        heads: divides `width`.
        distance_bias: float32 `[heads, distances]`, added to the scores of pairs that lie 0, 1, … places apart; at
            least as many distances as the longest sequence has places.

    Returns:
        Like `query`. On CUDA in half precision without bias one variable-length FlashAttention call; elsewhere dense
        calls, each for sequences of one or nearly one length.
    """
    one_each = len(query) == len(segments.lengths) != len(key_value)
    if distance_bias is None and one_each:
        return attention(query, key_value, segments, heads)  # the last position sees all
    if distance_bias is None and query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        return flash_attention(query, key_value, segments, heads, causal=True)
    if query.is_cuda:
        return _dense_attention(query, key_value, segments, heads, distance_bias, one_each=one_each)
    if len(segments.lengths) == 1 and not torch.is_grad_enabled():
        return _attention_of_one(query, key_value, heads, distance_bias)
    buckets = segments.causal_buckets
    counts = [0, *accumulate(bucket.count for bucket in buckets)]
    lengths = [segments.lengths[begin:end] for begin, end in pairwise(counts)]
    attended: Tensor = _CausalAttention.apply(query, key_value, distance_bias, buckets, lengths, heads, one_each)
    return attended


def _attention_of_one(query: Tensor, key_value: Tensor, heads: int, bias: Tensor | None) -> Tensor:
    """Attend within a single sequence, from all of its positions or from the last."""
    length = len(key_value)
    if bias is None:
        return attention_of_one(query, key_value, heads, causal=True)
    mask = _square(bias, length) if len(query) == length else bias[:, :length].flip(1)[:, None]
    return attention_of_one(query, key_value, heads, mask.to(query.dtype))


def _dense_attention(
    query: Tensor, key_value: Tensor, segments: Segments, heads: int, bias: Tensor | None, *, one_each: bool
) -> Tensor:
    """PyTorch's own attention, one call a bucket; the bias is part of its mask."""
    parts, begin = [], 0
    for bucket, asking, tokens in places(segments.causal_buckets, one_each=one_each):
        lengths, begin = segments.lengths[begin : begin + bucket.count], begin + bucket.count
        asked = query[asking] if one_each else bucket.spread(query[asking])
        q = asked.view(bucket.count, -1, heads, query.shape[1] // heads).transpose(1, 2)
        key, value = (
            bucket.spread(part).view(bucket.count, bucket.length, heads, -1).transpose(1, 2)
            for part in key_value[tokens].chunk(2, dim=-1)
        )
        if bias is None:
            attended = F.scaled_dot_product_attention(q, key, value, is_causal=True)
        else:
            if one_each:
                mask = _last_row(bias, bucket, lengths)
            else:
                mask = _square(bias, bucket.length).expand(bucket.count, -1, -1, -1)
            attended = F.scaled_dot_product_attention(q, key, value, attn_mask=mask.to(q.dtype))
        attended = attended.transpose(1, 2).flatten(2).flatten(0, 1)
        parts.append(attended if one_each else bucket.gather(attended))
    return torch.cat(parts)


def _square(bias: Tensor, length: int) -> Tensor:
    """Lay `[heads, distances]` out as `[heads, length, length]`: rows ask, -inf right of the diagonal."""
    ahead = bias.new_full((len(bias), length - 1), float("-inf"))
    line = torch.cat([bias[:, :length].flip(1), ahead], dim=1)  # of the last row, then one place on for each row above
    return line.unfold(1, length, 1).flip(1)


def _square_gradient(grad: Tensor, distances: int) -> Tensor:
    """Sum the diagonals of `[heads, length, length]`: the gradient of what `_square` was given."""
    heads, length, _ = grad.shape
    skewed = F.pad(grad.flip(1), (0, length)).flatten(1)[:, : length * (2 * length - 1)]
    line = skewed.view(heads, length, 2 * length - 1).sum(1)
    return F.pad(line[:, :length].flip(1), (0, distances - length))


def _last_row(bias: Tensor, bucket: Bucket, lengths: tuple[int, ...]) -> Tensor:
    """Lay `[heads, distances]` out for the last position of each sequence: `[count, heads, 1, length]`."""
    row = bias[:, _distances(bucket, lengths, bias.device)].transpose(0, 1).unsqueeze(2)
    return row if bucket.bias is None else row + bucket.bias


def _distances(bucket: Bucket, lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """int64 `[count, length]`: how far each place lies before the last of its sequence; 0 for those after it."""
    last = torch.tensor(lengths, device=device)[:, None] - 1
    return (last - torch.arange(bucket.length, device=device)).clamp_(min=0)


class _CausalAttention(torch.autograd.Function):
    """Plain products, a few sequences and `TILE` queries at a time, so that half of all scores are never computed."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        query: Tensor,
        key_value: Tensor,
        bias: Tensor | None,
        buckets: tuple[Bucket, ...],
        lengths: list[tuple[int, ...]],
        heads: int,
        one_each: bool,
    ) -> Tensor:
        out, saved = torch.empty_like(query), []
        square = None
        if not one_each:
            zeros = query.new_zeros((1, buckets[-1].length))
            square = _square(zeros if bias is None else bias.to(query.dtype), buckets[-1].length)
        for (bucket, asking, tokens), own in zip(places(buckets, one_each=one_each), lengths, strict=True):
            if bucket.length == 1:  # softmax over one key
                out[asking] = key_value[tokens, query.shape[1] :]
                continue
            q = by_head(query[asking] if one_each else bucket.spread(query[asking]), bucket.count, heads, 1)[0]
            key, value = kv = by_head(bucket.spread(key_value[tokens]), bucket.count, heads, 2)
            attended, weights = torch.empty_like(q), []
            for sequences, rows, top, bottom in _tiles(bucket, heads, q, one_each=one_each):
                keys = bucket.length if one_each else bottom
                part = q[rows, top:bottom]
                scores = torch.baddbmm(q.new_empty(1), part, key[rows, :keys].mT, beta=0, alpha=q.shape[-1] ** -0.5)
                by_sequence = scores.view(-1, heads, bottom - top, keys)
                if square is None:
                    assert bias is not None  # without one, the last positions attend as in `attention`
                    by_sequence.add_(_last_row(bias, bucket, own)[sequences])
                else:
                    by_sequence.add_(square[:, top:bottom, :keys])
                weights.append(softmax(scores))
                attended[rows, top:bottom] = torch.bmm(weights[-1], value[rows, :keys])
            put_back(attended[None], bucket, out[asking], one_each=one_each)
            saved += [q, kv, *weights]
        ctx.save_for_backward(*saved)
        ctx.layout = (buckets, lengths, heads, one_each, len(key_value))
        ctx.bias = None if bias is None else (bias.shape, bias.dtype)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        buckets, lengths, heads, one_each, n_tokens = ctx.layout
        saved = iter(ctx.saved_tensors)
        query_grad, key_value_grad = torch.empty_like(grad), grad.new_empty((n_tokens, 2 * grad.shape[1]))
        bias_grad = None
        if ctx.bias is not None:
            longest = buckets[-1].length
            shape = ctx.bias[0] if one_each else (heads, longest, longest)
            bias_grad = grad.new_zeros(shape, dtype=ctx.bias[1])
        for (bucket, asking, tokens), own in zip(places(buckets, one_each=one_each), lengths, strict=True):
            if bucket.length == 1:
                query_grad[asking] = 0
                key_value_grad[tokens, : grad.shape[1]] = 0
                key_value_grad[tokens, grad.shape[1] :] = grad[asking]
                continue
            q, kv = next(saved), next(saved)
            scale = q.shape[-1] ** -0.5
            # places without a token were never asked from: what stands there must not count
            upstream = grad[asking] if one_each else bucket.spread_zeros(grad[asking])
            upstream = by_head(upstream, bucket.count, heads, 1)[0]
            q_grad, kv_grad = torch.empty_like(q), torch.zeros_like(kv)
            for sequences, rows, top, bottom in _tiles(bucket, heads, q, one_each=one_each):
                keys = bucket.length if one_each else bottom
                weight, above = next(saved), upstream[rows, top:bottom]
                kv_grad[1, rows, :keys] += torch.bmm(weight.mT, above)
                score_grad = softmax_gradient(torch.bmm(above, kv[1, rows, :keys].mT), weight)
                kv_grad[0, rows, :keys] += torch.bmm(score_grad.mT, q[rows, top:bottom])
                q_grad[rows, top:bottom] = torch.bmm(score_grad, kv[0, rows, :keys])
                if bias_grad is not None:
                    by_sequence = score_grad.view(-1, heads, bottom - top, keys)
                    if one_each:
                        distances = _distances(bucket, own, grad.device)[sequences].flatten()
                        flat = by_sequence.transpose(0, 1).reshape(heads, -1).to(bias_grad.dtype)
                        bias_grad.index_add_(1, distances, flat)
                    else:
                        bias_grad[:, top:bottom, :keys] += by_sequence.sum(0)
            kv_grad[0] *= scale
            put_back(q_grad.mul_(scale)[None], bucket, query_grad[asking], one_each=one_each)
            put_back(kv_grad, bucket, key_value_grad[tokens], one_each=False)
        if bias_grad is not None and not one_each:
            bias_grad = _square_gradient(bias_grad, ctx.bias[0][1])
        return query_grad, key_value_grad, bias_grad, None, None, None, None


def _tiles(bucket: Bucket, heads: int, q: Tensor, *, one_each: bool) -> Iterator[tuple[slice, slice, int, int]]:
    """Yield sequences, their rows among `count * heads`, and the queries from … to that are taken at once."""
    asked = 1 if one_each else bucket.length
    step = max(1, CHUNK_BYTES // (q.element_size() * heads * min(asked, TILE) * bucket.length))
    for begin in range(0, bucket.count, step):
        end = min(begin + step, bucket.count)
        for top in range(0, asked, TILE):
            yield slice(begin, end), slice(begin * heads, end * heads), top, min(top + TILE, asked)
