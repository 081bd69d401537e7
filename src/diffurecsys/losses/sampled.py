"""Cross-entropy over sampled items, for catalogues where even the chunked full softmax takes too long."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffurecsys.layers.item_table import rows_of
from diffurecsys.layers.products import linear
from diffurecsys.layers.similarity import Similarity, offered_vectors


class NegativeSampler(nn.Module):
    """Draws items with probability q in proportion to (popularity + 1)^power, with replacement.

    Its state is counted from data by `observe`, and is no part of saved weights: only training draws.

    Attributes:
        count: items a draw, shared by all examples of a batch.
        cumulative: float64 `[n_items]`, cumulative q.
        log_expected: float32 `[n_items]`, log(count · q): the logarithm of how often an item is drawn on average.
    """

    cumulative: Tensor
    log_expected: Tensor

    def __init__(self, n_items: int, count: int) -> None:
        """Make a sampler that draws uniformly until it has observed counts.

        Raises:
            ValueError: fewer than one item is to be drawn.
        """
        super().__init__()
        if count < 1:
            raise ValueError(f"the number of sampled negatives must be at least 1, got {count}")
        self.count = count
        self.register_buffer("cumulative", torch.empty(n_items, dtype=torch.float64), persistent=False)
        self.register_buffer("log_expected", torch.empty(n_items), persistent=False)
        self.observe(torch.zeros(n_items), 0)

    def observe(self, popularity: Tensor, power: float) -> None:
        """Draw from now on by `[n_items]` popularity; power 0 draws uniformly.

        Raises:
            ValueError: the power is negative.
        """
        if power < 0:
            raise ValueError(f"the power of the negatives' popularity must not be negative, got {power}")
        weight = (popularity.double() + 1) ** power
        probability = weight / weight.sum()
        self.cumulative.copy_(probability.cumsum(0))
        self.log_expected.copy_((self.count * probability).log())

    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw int64 `[count]` items."""
        uniform = torch.rand(self.count, generator=generator, device=self.cumulative.device, dtype=torch.float64)
        drawn = torch.searchsorted(self.cumulative, uniform, right=True)
        return drawn.clamp_(max=len(self.cumulative) - 1)  # rounding may leave the last sum just under one


def sampled_cross_entropy(
    x: Tensor,
    table: Tensor,
    targets: Tensor,
    negatives: Tensor,
    log_expected: Tensor,
    similarity: Similarity = "dot",
) -> Tensor:
    """Mean of -log of an estimate of softmax(x · itemsᵀ)[target] from a sample of the catalogue.

    The softmax's denominator Σ_j exp(s_j) is estimated without bias by importance sampling: the target's own term
    exactly, every other by exp(s_j) / E[draws of j] for each time that j was drawn. With every item drawn just once
    this is the full loss. The logarithm of the estimate is biased by an amount that falls with the sample's size.
    Source: Bengio, Senécal, "Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic Language
    Model" (IEEE TNN 2008); for recommenders Yi et al., "Sampling-Bias-Corrected Neural Modeling" (RecSys 2019).

    Args:
        x: `[batch, width]`.
        table: item embeddings, `[n_items, width]`.
        targets: int64 `[batch]`.
        negatives: int64 `[sample]` drawn items, the same for all examples.
        log_expected: float32 `[sample]`, the logarithm of how often each drawn item is drawn on average.
        similarity: what items are compared as; `x` is it already.
    """
    own_items, drawn_items = (offered_vectors(rows_of(table, index), similarity) for index in (targets, negatives))
    own = (x * own_items).sum(dim=1, keepdim=True).float()  # (batch, 1)
    others = linear(x, drawn_items).float() - log_expected
    others = others.masked_fill(targets[:, None] == negatives, float("-inf"))
    return (torch.cat([own, others], dim=1).logsumexp(dim=1, keepdim=True) - own).mean()
