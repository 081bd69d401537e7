"""A Transformer whose blocks mix self-attention with a filter over the frequencies of the sequence.

Source: Shin, Choi, Wi, Park, "An Attentive Inductive Bias for Sequential Recommendation beyond the Self-Attention"
(AAAI 2024). The filter keeps the lowest frequencies of a Fourier transform over the places of a history and rescales
what remains. That is linear: here a product with a matrix, whose entries depend on the distance of two places alone.

As published (`filter: whole`) every place takes part in all others: trained at every position it would be shown its
label. The authors train prefixes at their last position, and so does this, refusing windows. `filter: causal` cuts the
matrix below its diagonal: every place is filtered as if it were the last, which is the published model in the first
block and sees less in later ones. That may be trained on windows, several times as fast.

Deviations from the authors' code: what stands left of a history is zero, where theirs filters embeddings of padding
with their positions; no dropout on attention weights; Xavier weights; the tanh approximation of GELU.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from diffurecsys.checks import at_least, one_of, positive, within
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.layers.encoder import NORM_EPS, Block, Encoder
from diffurecsys.layers.item_table import item_table
from diffurecsys.layers.segments import Segments
from diffurecsys.losses.cross_entropy import blocked_cross_entropy
from diffurecsys.models.base import Capabilities, Family, RankerConfig, VectorRanker, refuse_longer_histories

Filter = Literal["whole", "causal"]


@dataclass(frozen=True)
class BSARecConfig(RankerConfig):
    """Size, regularisation and filter (defaults: the paper's for Beauty).

    Attributes:
        width: embedding and hidden size d.
        blocks: how many.
        heads: attention heads; divides `width`.
        inner: hidden units of the feed-forward, in multiples of `width`.
        dropout: on embeddings and inside the blocks.
        max_length: places of the Fourier transform; at least `preprocessing.max_length`.
        embedding_std: standard deviation of the initial item embeddings.
        alpha: share of the filter in what it makes together with self-attention, in [0, 1].
        cutoff: c: the mean and the c // 2 lowest frequencies pass unscaled; c / `max_length` is the share of them.
        filter: `whole`, every place takes part in all, or `causal`, in later ones alone.
    """

    width: int = 64
    blocks: int = 2
    heads: int = 1
    inner: int = 4
    dropout: float = 0.5
    max_length: int = 50
    embedding_std: float = 0.02
    alpha: float = 0.7
    cutoff: int = 5
    filter: Filter = "whole"

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least(self, 1, "width", "blocks", "heads", "inner", "max_length", "cutoff")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width {self.width}, heads {self.heads}")
        within(self, 0, 1, "dropout")
        positive(self, "embedding_std")
        at_least(self, 0, "alpha")
        if self.alpha > 1:
            raise ValueError(f"alpha must lie in [0, 1], got {self.alpha}")
        if self.cutoff > self.max_length:
            raise ValueError(f"cutoff must not exceed max_length ({self.max_length}), got {self.cutoff}")
        one_of(self, get_args(Filter), "filter")

    @property
    def capabilities(self) -> Capabilities:
        """Where the filter reaches later places a label would be seen: then only ends of prefixes may be asked."""
        schemes = ("window", "prefix") if self.filter == "causal" else ("prefix",)
        return Capabilities(schemes=schemes, vectors=True, longest_history=self.max_length)


def low_pass(length: int, cutoff: int, *, causal: bool) -> Tensor:
    """Return what keeps the mean and the `cutoff // 2` lowest frequencies of a column: float32 `[length, length]`."""
    spectrum = torch.fft.rfft(torch.eye(length, dtype=torch.float64), dim=0)
    spectrum[cutoff // 2 + 1 :] = 0
    kept: Tensor = torch.fft.irfft(spectrum, n=length, dim=0)
    return (kept.tril() if causal else kept).float()


class FrequencyBlock(Block):
    """A block of norm `post` with a filter beside its self-attention.

    Args:
        width: of inputs and outputs.
        others: of `Block`.
        low: `[max_length, max_length]`, of `low_pass`.
        alpha: share of the filter.
    """

    low: Tensor

    def __init__(self, width: int, *others: Any, low: Tensor, alpha: float, **named: Any) -> None:  # noqa: ANN401
        super().__init__(width, *others, **named)
        self.alpha = alpha
        self.sqrt_beta = nn.Parameter(torch.ones(width))
        self.register_buffer("low", low, persistent=False)
        self.filter_norm = nn.LayerNorm(width, eps=NORM_EPS)

    def forward(
        self, x: Tensor, segments: Segments, generator: torch.Generator | None, *, last_only: bool = False
    ) -> Tensor:
        """Map `[tokens, width]` to `[tokens, width]`, or to `[batch, width]` at the last positions alone."""
        attended, low = self.attention(x, segments, last_only=last_only), self._low(x, segments)
        if last_only:
            x, low = x.index_select(0, segments.last), low.index_select(0, segments.last)
        filtered = low + self.sqrt_beta.square() * (x - low)
        filtered = self.filter_norm(self.dropout.add(x, filtered, generator))
        attended = self.attention_norm(self.dropout.add(x, attended, generator))
        x = self.alpha * filtered + (1 - self.alpha) * attended
        x = self.dropout.add(x, self.feed_forward(x, generator), generator)
        out: Tensor = self.feed_forward_norm(x)
        return out

    def _low(self, x: Tensor, segments: Segments) -> Tensor:
        """Keep the low frequencies of every sequence; only distances count, so it may lie anywhere among the places."""
        count, longest = len(segments.lengths), segments.lengths[-1]
        slot = segments.sequence * longest + segments.place
        dense = x.new_zeros((count * longest, x.shape[1])).index_copy_(0, slot, x).view(count, longest, -1)
        kept = torch.matmul(self.low[:longest, :longest].to(x.dtype), dense)  # (count, longest, width)
        return kept.flatten(0, 1).index_select(0, slot)


class BSARec(VectorRanker):
    """Item embeddings, an encoder of `FrequencyBlock`s, and scores against the embeddings."""

    config: BSARecConfig

    def __init__(self, config: BSARecConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        self.embedding = item_table(n_items, config.width)
        low = low_pass(config.max_length, config.cutoff, causal=config.filter == "causal")
        self.encoder = Encoder(
            width=config.width,
            blocks=config.blocks,
            heads=config.heads,
            inner=config.inner * config.width,
            dropout=config.dropout,
            causal=True,
            norm="post",
            positions="end",
            max_length=config.max_length,
            block=partial(FrequencyBlock, low=low, alpha=config.alpha),
        )

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator` (on the host): the encoder's, N(0, 1) for √β, normal for items."""
        self.encoder.initialise(generator)
        for name, weight in self.encoder.named_parameters():
            if name.endswith("sqrt_beta"):
                nn.init.normal_(weight, generator=generator)
        nn.init.normal_(self.embedding.weight, std=self.config.embedding_std, generator=generator)

    def observe(self, data: StudyData) -> None:
        """Refuse histories that are longer than `max_length`."""
        refuse_longer_histories(data, self.config.max_length)

    def loss(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Return the cross-entropy over the catalogue, a mean over all asked positions."""
        x = self._encode(batch, generator, last_only=not batch.everywhere)
        return blocked_cross_entropy(x, self.items(), batch.targets)

    def users(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Represent every history as its last position sees it: float32 `[batch, width]`."""
        return self._encode(batch, generator, last_only=True).float()

    def items(self) -> Tensor:
        """Represent every item by its embedding: `[n_items, width]`."""
        return self.embedding.weight

    def _encode(self, batch: PackedBatch, generator: torch.Generator, *, last_only: bool) -> Tensor:
        encoded: Tensor = self.encoder(self.embedding(batch.items), Segments.of(batch), generator, last_only=last_only)
        return encoded


FAMILY = Family("bsarec", BSARecConfig, BSARec)
