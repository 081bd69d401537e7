"""SASRec with gated residual blocks and a softmax over sampled items.

Source: Tikhonovich et al., "eSASRec: Enhancing Transformer-based Recommendations in a Modular Fashion" (RecSys 2025),
which takes its blocks from Borisyuk et al., "From Features to Transformers: Redefining Ranking for Scalable Impact"
(2025): what a sub-layer adds is multiplied by a sigmoid of its input, and the feed-forward is a SwiGLU. Deviations
from the authors' code: one sample serves all positions of a batch, where theirs draws for each, and the loss corrects
for how often an item is drawn; a normalisation after the last block; no dropout on attention weights; Xavier weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffurecsys.checks import at_least, one_of, positive, within
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.layers.dropout import Dropout
from diffurecsys.layers.encoder import NORM_EPS, Encoder, Norm, Positions, SelfAttention
from diffurecsys.layers.item_table import item_table
from diffurecsys.layers.products import Linear
from diffurecsys.layers.segments import Segments
from diffurecsys.losses.cross_entropy import blocked_cross_entropy
from diffurecsys.losses.sampled import NegativeSampler, sampled_cross_entropy
from diffurecsys.models.base import Capabilities, Family, RankerConfig, VectorRanker, refuse_longer_histories

Loss = Literal["sampled", "cross_entropy"]


@dataclass(frozen=True)
class ESASRecConfig(RankerConfig):
    """Size, regularisation and loss.

    Attributes:
        width: embedding and hidden size d.
        blocks: how many.
        heads: attention heads; divides `width`.
        inner: hidden units of the feed-forward, in multiples of `width`.
        dropout: on embeddings and inside the blocks.
        max_length: longest history; at least `preprocessing.max_length`.
        positions: as of `Encoder`.
        embedding_std: standard deviation of the initial item embeddings.
        loss: `sampled` softmax against `negatives` items a batch, or `cross_entropy` over the whole catalogue.
        negatives: sampled items.
        negatives_power: they are drawn in proportion to training popularity to this power.
    """

    width: int = 64
    blocks: int = 2
    heads: int = 1
    inner: int = 4
    dropout: float = 0.2
    max_length: int = 50
    positions: Positions = "end"
    embedding_std: float = 0.02
    loss: Loss = "sampled"
    negatives: int = 256
    negatives_power: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least(self, 1, "width", "blocks", "heads", "inner", "max_length", "negatives")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width {self.width}, heads {self.heads}")
        within(self, 0, 1, "dropout")
        positive(self, "embedding_std")
        at_least(self, 0, "negatives_power")
        one_of(self, get_args(Positions), "positions")
        one_of(self, get_args(Loss), "loss")

    @property
    def capabilities(self) -> Capabilities:
        """Attention is causal, so every position may be asked."""
        return Capabilities(schemes=("window", "prefix"), vectors=True, longest_history=self.max_length)


class SwiGLU(nn.Module):
    """Feed-forward whose hidden units are products of a linear map and a SiLU of another; without biases."""

    def __init__(self, width: int, dropout: float, inner: int) -> None:
        super().__init__()
        self.inner = Linear(width, 2 * inner, bias=False)
        self.outer = Linear(inner, width, bias=False)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Map `[tokens, width]` to `[tokens, width]`."""
        gate, value = self.inner(x).chunk(2, dim=1)
        mapped: Tensor = self.outer(self.dropout(F.silu(gate) * value, generator))
        return mapped


class GatedBlock(nn.Module):
    """Transformer block whose sub-layers' outputs pass gates that see what they are added to (LiGR).

    Args:
        width: of inputs and outputs.
        heads: attention heads; divides `width`.
        dropout: rate.
        inner: hidden units of the feed-forward.
        causal: no position sees a later one.
        norm: `pre`: what goes into sub-layers is normalised.
        distances: of the learnt bias by distance, see `SelfAttention`.
    """

    def __init__(
        self, width: int, heads: int, dropout: float, *, inner: int, causal: bool, norm: Norm, distances: int
    ) -> None:
        super().__init__()
        if norm != "pre":
            raise ValueError(f"gated blocks normalise what goes into sub-layers, got norm {norm!r}")
        self.attention_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.attention = SelfAttention(width, heads, causal=causal, distances=distances)
        self.attention_gate = Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.feed_forward = SwiGLU(width, dropout, inner)
        self.feed_forward_gate = Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Tensor, segments: Segments, generator: torch.Generator | None, *, last_only: bool = False
    ) -> Tensor:
        """Map `[tokens, width]` to `[tokens, width]`, or to `[batch, width]` at the last positions alone."""
        attended = self.attention(self.attention_norm(x), segments, last_only=last_only)
        if last_only:
            x = x.index_select(0, segments.last)
        x = self.dropout.add(x, self.attention_gate(x).sigmoid() * attended, generator)
        mapped = self.feed_forward(self.feed_forward_norm(x), generator)
        return self.dropout.add(x, self.feed_forward_gate(x).sigmoid() * mapped, generator)


class ESASRec(VectorRanker):
    """Item embeddings, an encoder of `GatedBlock`s, and scores against the embeddings."""

    config: ESASRecConfig

    def __init__(self, config: ESASRecConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        self.embedding = item_table(n_items, config.width)
        self.encoder = Encoder(
            width=config.width,
            blocks=config.blocks,
            heads=config.heads,
            inner=config.inner * config.width,
            dropout=config.dropout,
            causal=True,
            positions=config.positions,
            max_length=config.max_length,
            block=GatedBlock,
        )
        self.sampler = NegativeSampler(n_items, config.negatives) if config.loss == "sampled" else None

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator` (on the host): the encoder's, and N(0, `embedding_std`) for items."""
        self.encoder.initialise(generator)
        nn.init.normal_(self.embedding.weight, std=self.config.embedding_std, generator=generator)

    def observe(self, data: StudyData) -> None:
        """Count items for sampled negatives; refuse histories that are longer than `max_length`."""
        refuse_longer_histories(data, self.config.max_length)
        if self.sampler is not None:
            self.sampler.observe(data.popularity, self.config.negatives_power)

    def loss(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Return the configured loss, a mean over all asked positions."""
        x, items, targets = self._encode(batch, generator, last_only=not batch.everywhere), self.items(), batch.targets
        if self.sampler is None:
            return blocked_cross_entropy(x, items, targets)
        drawn = self.sampler.draw(generator)
        return sampled_cross_entropy(x, items, targets, drawn, self.sampler.log_expected.index_select(0, drawn))

    def users(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Represent every history as its last position sees it: float32 `[batch, width]`."""
        return self._encode(batch, generator, last_only=True).float()

    def items(self) -> Tensor:
        """Represent every item by its embedding: `[n_items, width]`."""
        return self.embedding.weight

    def _encode(self, batch: PackedBatch, generator: torch.Generator, *, last_only: bool) -> Tensor:
        x = self.embedding(batch.items)
        encoded: Tensor = self.encoder(x, Segments.of(batch), generator, last_only=last_only)
        return encoded


FAMILY = Family("esasrec", ESASRecConfig, ESASRec)
