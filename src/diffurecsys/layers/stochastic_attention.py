"""Attention among Gaussians with diagonal covariances, by their squared 2-Wasserstein distance.

Source: Fan et al., "Sequential Recommendation via Stochastic Self-Attention" (WWW 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffurecsys.layers.dropout import Dropout
from diffurecsys.layers.segments import Bucket, Segments

NORM_EPS = 1e-12


def to_covariance(x: Tensor) -> Tensor:
    """Make any numbers positive: ELU + 1."""
    return F.elu(x) + 1


def square_root(covariance: Tensor) -> Tensor:
    """√Σ, whose slope stays finite where Σ has come down to 0."""
    return covariance.clamp(min=1e-12).sqrt()


def wasserstein_distance(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> Tensor:
    """Squared 2-Wasserstein distance of Gaussians with diagonal covariances, over the last dimension."""
    apart = (square_root(covariance) - square_root(other_covariance)).square().sum(-1)
    return (mean - other_mean).square().sum(-1) + apart


class FeedForward(nn.Module):
    """Linear maps to four times the width and back, ELU between; dropout, residual, normalisation."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm, self.dropout = nn.LayerNorm(width, eps=NORM_EPS), Dropout(dropout)

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Map `[tokens, width]` to `[tokens, width]`."""
        mapped: Tensor = self.norm(self.dropout.add(x, self.outer(F.elu(self.inner(x))), generator))
        return mapped


class StochasticLayer(nn.Module):
    """Causal attention by distance and a feed-forward for each stream; the mean's are absent where it stays."""

    def __init__(self, width: int, heads: int, dropout: float, *, changes_mean: bool) -> None:
        super().__init__()
        self.heads, self.changes_mean = heads, changes_mean
        self.mean_query_key = nn.Linear(width, 2 * width)
        self.covariance_query_key_value = nn.Linear(width, 3 * width)
        self.covariance_output = nn.Linear(width, width)
        self.norm, self.dropout = nn.LayerNorm(width, eps=NORM_EPS), Dropout(dropout)  # one for both streams
        self.covariance_feed_forward = FeedForward(width, dropout)
        if self.changes_mean:
            self.mean_value, self.mean_output = nn.Linear(width, width), nn.Linear(width, width)
            self.mean_feed_forward = FeedForward(width, dropout)

    def forward(
        self, mean: Tensor, covariance: Tensor, segments: Segments, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Map two `[tokens, width]` streams to two such."""
        queries, keys = self.mean_query_key(mean).chunk(2, dim=1)
        projected = to_covariance(self.covariance_query_key_value(covariance))
        root_queries, root_keys, value = projected.chunk(3, dim=1)
        streams = [queries, square_root(root_queries), keys, square_root(root_keys), value]
        streams += [self.mean_value(mean)] if self.changes_mean else []
        attended, attended_mean = self._attend(torch.cat(streams, dim=1), len(streams), segments)
        covariance = self.norm(self.dropout.add(covariance, self.covariance_output(attended), generator))
        covariance = to_covariance(self.covariance_feed_forward(covariance, generator))
        if self.changes_mean:
            mean = self.norm(self.dropout.add(mean, self.mean_output(attended_mean), generator))
            mean = self.mean_feed_forward(mean, generator)
        return mean, covariance

    def _attend(self, streams: Tensor, count: int, segments: Segments) -> tuple[Tensor, Tensor]:
        """Return Σ A² v for covariances and Σ A v for means, `[tokens, width]` each; the latter may be empty."""
        covariances, means = [], []
        with torch.autocast(streams.device.type, enabled=False):  # distances are differences of large numbers
            parts = streams.to(self.norm.weight.dtype).split([bucket.tokens for bucket in segments.buckets])
            for bucket, part in zip(segments.buckets, parts, strict=True):
                apart = bucket.spread(part).view(bucket.count, bucket.length, count, self.heads, -1)
                query, root_query, key, root_key, value, *mean = apart.permute(2, 0, 3, 1, 4)
                weight = wasserstein_weights(query, root_query, key, root_key)
                covariances.append(_join(weight.square() @ value, bucket))
                means += [_join(weight @ mean[0], bucket)] if mean else []
        return torch.cat(covariances), torch.cat(means) if means else streams[:0]


def wasserstein_weights(query: Tensor, root_query: Tensor, key: Tensor, root_key: Tensor) -> Tensor:
    """Causal softmax of -D/√head width; `[…, length, head width]` means and roots -> `[…, length, length]`.

    What the distance holds of the query alone cancels in the softmax and is left out.
    """
    query, key = torch.cat([query, root_query], dim=-1), torch.cat([key, root_key], dim=-1)
    scores = (2 * query @ key.mT - key.square().sum(-1)[..., None, :]) * root_key.shape[-1] ** -0.5
    length = key.shape[-2]
    later = torch.ones(length, length, dtype=torch.bool, device=key.device).triu(1)
    weights: Tensor = scores.masked_fill(later, float("-inf")).softmax(-1)
    return weights


def _join(x: Tensor, bucket: Bucket) -> Tensor:
    return bucket.gather(x.transpose(1, 2).reshape(bucket.count * bucket.length, -1))
