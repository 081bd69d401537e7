"""Softmax attention inside each sequence of a packed batch, never across their borders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from diffurecsys.layers.segments import Bucket, Segments

LONG = 64  # from this length on PyTorch's flash kernel beats plain products, and keeps no length x length scores
# PyTorch's softmax takes rows shorter than a vector register element by element
NARROW = 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8


def attention(query: Tensor, key_value: Tensor, segments: Segments, heads: int) -> Tensor:
    """Attend from every token, or from one query a sequence, to all tokens of the same sequence.

    Args:
        query: `[tokens, width]`; or `[batch, width]`, one query a sequence.
        key_value: `[tokens, 2 width]`, keys beside values.
        segments: the borders between sequences.
        heads: divides `width`.

    Returns:
        Like `query`. On CUDA in half precision one variable-length FlashAttention call; elsewhere a few dense calls,
        each for sequences of one or nearly one length; a single sequence, where nothing is learnt, in one call.
    """
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        return flash_attention(query, key_value, segments, heads)
    if len(segments.lengths) == 1 and not torch.is_grad_enabled():
        return attention_of_one(query, key_value, heads)
    one_each = len(query) == len(segments.lengths) != len(key_value)
    n_short = sum(bucket.length < LONG for bucket in segments.buckets)
    short, long = segments.buckets[:n_short], segments.buckets[n_short:]
    groups: list[tuple[Bucket, ...]] = [(bucket,) for bucket in long]
    if short:
        groups.insert(0, short)
    # one `split` instead of slices: the gradient of every slice would be a whole tensor of zeros
    queries = query.split([sum(b.count if one_each else b.tokens for b in group) for group in groups])
    keys_values = key_value.split([sum(bucket.tokens for bucket in group) for group in groups])
    parts = []
    for group, q, kv in zip(groups, queries, keys_values, strict=True):
        if group is short:
            parts.append(_ShortAttention.apply(q, kv, short, heads, one_each))
        else:
            parts.append(_long_attention(group[0], q, kv, heads, one_each=one_each))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def flash_attention(
    query: Tensor, key_value: Tensor, segments: Segments, heads: int, *, causal: bool = False
) -> Tensor:
    """One variable-length call for the whole batch; arguments as `attention`'s, on CUDA in half precision."""
    from torch.nn.attention.varlen import varlen_attn

    longest = segments.lengths[-1]
    one_each = len(query) == len(segments.lengths) != len(key_value)
    query_offsets, longest_query = (segments.ones, 1) if one_each else (segments.offsets, longest)
    q, k, v = (part.unflatten(-1, (heads, -1)) for part in (query, *key_value.chunk(2, dim=-1)))
    window = (-1, 0) if causal else (-1, -1)  # keys before and after a query, -1: all
    attended = varlen_attn(q, k, v, query_offsets, segments.offsets, longest_query, longest, window_size=window)
    assert isinstance(attended, Tensor)  # it adds auxiliary outputs only when asked
    return attended.flatten(-2)


def attention_of_one(
    query: Tensor, key_value: Tensor, heads: int, mask: Tensor | None = None, *, causal: bool = False
) -> Tensor:
    """Attend within a single sequence: as few operations as there can be, which is what one served history costs.

    Args:
        query: `[queries, width]`.
        key_value: `[length, 2 width]`, keys beside values.
        heads: divides `width`.
        mask: added to the scores `[heads, queries, length]`.
        causal: no position sees a later one; there are as many queries as keys.
    """
    width = query.shape[1]
    q = query.view(1, -1, heads, width // heads).transpose(1, 2)
    key, value = key_value.view(1, -1, 2, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
    attended = F.scaled_dot_product_attention(q, key, value, attn_mask=mask, is_causal=causal)
    return attended.transpose(1, 2).reshape(-1, width)


def _long_attention(bucket: Bucket, query: Tensor, key_value: Tensor, heads: int, *, one_each: bool) -> Tensor:
    def dense(x: Tensor, *, spread: bool = True) -> Tensor:
        if spread and bucket.source is not None:
            x = _Spread.apply(x, bucket.source, bucket.slot)
        return x.view(bucket.count, -1, heads, x.shape[-1] // heads).transpose(1, 2)

    key, value = (dense(part) for part in key_value.chunk(2, dim=-1))
    bias = None if bucket.bias is None else bucket.bias.to(query.dtype)
    attended = F.scaled_dot_product_attention(dense(query, spread=not one_each), key, value, attn_mask=bias)
    attended = attended.transpose(1, 2).flatten(2).flatten(0, 1)  # (places, width)
    return attended if one_each or bucket.slot is None else attended.index_select(0, bucket.slot)


class _Spread(torch.autograd.Function):
    """Copy tokens to their places; empty places hold copies that nothing depends on, so no gradient comes back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, source: Tensor, slot: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(slot)
        return x.index_select(0, source)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (slot,) = ctx.saved_tensors
        return grad.index_select(0, slot), None, None


class _ShortAttention(torch.autograd.Function):
    """Plain products over all short buckets; gradients go straight into one tensor instead of many that are joined."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        query: Tensor,
        key_value: Tensor,
        buckets: tuple[Bucket, ...],
        heads: int,
        one_each: bool,
    ) -> Tensor:
        out, saved = torch.empty_like(query), []
        for bucket, asking, tokens in places(buckets, one_each=one_each):
            if bucket.length == 1:  # softmax over one key
                out[asking] = key_value[tokens, query.shape[1] :]
                continue
            spread_query = query[asking] if one_each else bucket.spread(query[asking])
            q = by_head(spread_query, bucket.count, heads, 1)[0]
            key, value = kv = by_head(bucket.spread(key_value[tokens]), bucket.count, heads, 2)
            scores = torch.baddbmm(q.new_empty(1), q, key.mT, beta=0, alpha=q.shape[-1] ** -0.5)
            if bucket.bias is not None:
                scores.view(bucket.count, heads, -1, bucket.length).add_(bucket.bias)
            weight = softmax(scores)
            put_back(torch.bmm(weight, value)[None], bucket, out[asking], one_each=one_each)
            saved += [q, kv, weight]
        ctx.save_for_backward(*saved)
        ctx.layout = (buckets, heads, one_each, len(key_value))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        buckets, heads, one_each, n_tokens = ctx.layout
        saved = iter(ctx.saved_tensors)
        query_grad, key_value_grad = torch.empty_like(grad), grad.new_empty((n_tokens, 2 * grad.shape[1]))
        for bucket, asking, tokens in places(buckets, one_each=one_each):
            if bucket.length == 1:
                query_grad[asking] = 0
                key_value_grad[tokens, : grad.shape[1]] = 0
                key_value_grad[tokens, grad.shape[1] :] = grad[asking]
                continue
            q, kv, weight = next(saved), next(saved), next(saved)
            scale = q.shape[-1] ** -0.5
            # places without a token were never asked from: what stands there must not count
            upstream = grad[asking] if one_each else bucket.spread_zeros(grad[asking])
            upstream = by_head(upstream, bucket.count, heads, 1)[0]
            kv_grad = torch.empty_like(kv)
            torch.bmm(weight.mT, upstream, out=kv_grad[1])
            score_grad = softmax_gradient(torch.bmm(upstream, kv[1].mT), weight)
            torch.baddbmm(kv_grad[0], score_grad.mT, q, beta=0, alpha=scale, out=kv_grad[0])
            q_grad = torch.baddbmm(q, score_grad, kv[0], beta=0, alpha=scale)
            put_back(q_grad[None], bucket, query_grad[asking], one_each=one_each)
            put_back(kv_grad, bucket, key_value_grad[tokens], one_each=False)
        return query_grad, key_value_grad, None, None, None


def softmax(scores: Tensor) -> Tensor:
    """Softmax over the last dimension; may overwrite `scores`."""
    if scores.shape[-1] >= NARROW or not scores.is_cpu:
        return scores.softmax(dim=-1)
    scores = scores.sub_(scores.amax(dim=-1, keepdim=True)).exp_()
    return scores.div_(scores.sum(dim=-1, keepdim=True))


def softmax_gradient(upstream: Tensor, weight: Tensor) -> Tensor:
    """Gradient of what went into the softmax that gave `weight`; may overwrite `upstream`."""
    if weight.shape[-1] >= NARROW or not weight.is_cpu:
        return torch._softmax_backward_data(upstream, weight, -1, weight.dtype)
    return upstream.sub_((upstream * weight).sum(dim=-1, keepdim=True)).mul_(weight)


def places(buckets: tuple[Bucket, ...], *, one_each: bool) -> list[tuple[Bucket, slice, slice]]:
    """Say which rows of the queries and which tokens each bucket holds."""
    found, asking, tokens = [], 0, 0
    for bucket in buckets:
        n_query = bucket.count if one_each else bucket.tokens
        found.append((bucket, slice(asking, asking + n_query), slice(tokens, tokens + bucket.tokens)))
        asking, tokens = asking + n_query, tokens + bucket.tokens
    return found


def by_head(x: Tensor, count: int, heads: int, parts: int) -> Tensor:
    """Turn `[count * length, parts * width]` into `[parts, count * heads, length, width / heads]`."""
    apart = x.reshape(count, -1, parts, heads, x.shape[1] // (parts * heads)).permute(2, 0, 3, 1, 4)
    return apart.reshape(parts, count * heads, *apart.shape[3:])


def put_back(x: Tensor, bucket: Bucket, out: Tensor, *, one_each: bool) -> None:
    """Undo `by_head` and write the rows that are tokens, or queries, to `out`."""
    parts, _, length, head_width = x.shape
    apart = x.view(parts, bucket.count, -1, length, head_width).permute(1, 3, 0, 2, 4)
    if one_each or bucket.slot is None:
        out.view(apart.shape).copy_(apart)
    else:
        torch.index_select(apart.reshape(bucket.count * length, -1), 0, bucket.slot, out=out)
