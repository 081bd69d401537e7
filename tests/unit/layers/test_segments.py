"""How a packed batch is grouped for dense calls."""

from __future__ import annotations

from diffurecsys.data.packing import pack_histories
from diffurecsys.layers.segments import FULL_BUCKET, Segments


def segments_of(lengths):
    return Segments.of(pack_histories([[0] * length for length in lengths]))


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
