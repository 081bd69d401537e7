"""Softmax attention that looks both ways, with a learnt bias for how far ahead or behind a key stands."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from diffurecsys.layers.attention import places
from diffurecsys.layers.segments import Bucket, Segments


def relative_attention(query: Tensor, key_value: Tensor, segments: Segments, heads: int, bias: Tensor) -> Tensor:
    """Attend from every token, or from the last of every sequence, to all tokens of the same sequence.

    Args:
        query: `[tokens, width]`; or `[batch, width]`, the last position of every sequence.
        key_value: `[tokens, 2 width]`, keys beside values.
        segments: the borders between sequences.
        heads: divides `width`.
        bias: float32 `[heads, 2 distances - 1]`, added to the scores of keys from distances - 1 places before the query
            to as many after it; at least as many distances as the longest sequence has places.

    Returns:
        Like `query`; PyTorch's own attention, one call for sequences of one or nearly one length.
    """
    one_each = len(query) == len(segments.lengths) != len(key_value)
    parts, begin = [], 0
    for bucket, asking, tokens in places(segments.buckets, one_each=one_each):
        lengths, begin = segments.lengths[begin : begin + bucket.count], begin + bucket.count
        asked = query[asking] if one_each else bucket.spread(query[asking])
        q = asked.view(bucket.count, -1, heads, query.shape[1] // heads).transpose(1, 2)
        key, value = (
            bucket.spread(part).view(bucket.count, bucket.length, heads, -1).transpose(1, 2)
            for part in key_value[tokens].chunk(2, dim=-1)
        )
        mask = _bias_of(bias, bucket, lengths, one_each=one_each)
        attended = F.scaled_dot_product_attention(q, key, value, attn_mask=mask.to(q.dtype))
        attended = attended.transpose(1, 2).flatten(2).flatten(0, 1)
        parts.append(attended if one_each else bucket.gather(attended))
    return torch.cat(parts)


def _bias_of(bias: Tensor, bucket: Bucket, lengths: tuple[int, ...], *, one_each: bool) -> Tensor:
    """Lay the bias out for the scores of a bucket, `[count or 1, heads, length or 1, length]`."""
    middle, length = bias.shape[1] // 2, bucket.length
    line = bias[:, middle - length + 1 : middle + length]
    square = line.unfold(1, length, 1)  # (heads, length, length): the window of the last position first
    if one_each:  # a product, whose gradient is summed in a fixed order
        last = F.one_hot(length - torch.tensor(lengths, device=bias.device), length).to(bias.dtype)
        laid = (last @ square).transpose(0, 1).unsqueeze(2)
    else:
        laid = square.flip(1)[None]
    return laid.expand(bucket.count, -1, -1, -1) if bucket.bias is None else laid + bucket.bias
