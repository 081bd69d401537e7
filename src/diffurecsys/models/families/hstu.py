"""A sequential transducer: gated attention without softmax, in which how much there is to attend to counts.

Source: Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for Generative
Recommendations" (ICML 2024), the variant for public data sets: unit vectors compared under a temperature, softmax over
sampled items. Attention weights are SiLU(q · k + bias by distance) / `max_length`, and their sum over values is
normalised and multiplied by a gate. This is the positional variant alone: the published bias has a second part for the
time between two events, and sequences are kept here without times. Other deviations from the authors' code: one sample
serves all positions of a batch, where theirs draws for each, and the loss corrects for how often an item is drawn; a
normalisation after the last block; Xavier weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffurecsys.checks import at_least, one_of, positive, within
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.layers.dropout import Dropout
from diffurecsys.layers.encoder import Encoder
from diffurecsys.layers.item_table import item_table
from diffurecsys.layers.normalisation import unit_rows
from diffurecsys.layers.products import Linear
from diffurecsys.layers.segments import Segments
from diffurecsys.losses.cross_entropy import blocked_cross_entropy
from diffurecsys.losses.sampled import NegativeSampler, sampled_cross_entropy
from diffurecsys.models.base import Capabilities, Family, RankerConfig, VectorRanker, refuse_longer_histories

Loss = Literal["sampled", "cross_entropy"]
NORM_EPS = 1e-6  # the published code's; sums of few small attention weights are of its square root's size
BIAS_STD = 0.02


@dataclass(frozen=True)
class HSTUConfig(RankerConfig):
    """Size, regularisation and loss (defaults: the paper's on MovieLens, but for the width, there 50).

    Attributes:
        width: embedding and hidden size d.
        blocks: how many.
        heads: attention heads; divides `width`.
        dropout: on embeddings and on what leaves the gates.
        max_length: longest history, and what attention sums are divided by; at least `preprocessing.max_length`.
        embedding_std: standard deviation of the initial item embeddings.
        temperature: what cosines of histories and items are divided by.
        loss: `sampled` softmax against `negatives` items a batch, or `cross_entropy` over the whole catalogue.
        negatives: sampled items.
        negatives_power: they are drawn in proportion to training popularity to this power.
    """

    width: int = 64
    blocks: int = 2
    heads: int = 1
    dropout: float = 0.2
    max_length: int = 50
    embedding_std: float = 0.02
    temperature: float = 0.05
    loss: Loss = "sampled"
    negatives: int = 128
    negatives_power: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least(self, 1, "width", "blocks", "heads", "max_length", "negatives")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width {self.width}, heads {self.heads}")
        within(self, 0, 1, "dropout")
        positive(self, "embedding_std", "temperature")
        at_least(self, 0, "negatives_power")
        one_of(self, get_args(Loss), "loss")

    @property
    def capabilities(self) -> Capabilities:
        """Attention is causal, so every position may be asked."""
        return Capabilities(schemes=("window", "prefix"), vectors=True, longest_history=self.max_length)


class TransducerBlock(nn.Module):
    """Gate, values, queries and keys of one map; pointwise attention; normalised, gated, mapped, added.

    Args:
        width: of inputs and outputs.
        heads: attention heads; divides `width`.
        dropout: rate.
        max_length: of histories; divides the attention's sums.
    """

    def __init__(self, width: int, heads: int, dropout: float, *, max_length: int, **_: object) -> None:
        super().__init__()
        self.heads, self.max_length = heads, max_length
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.gate_value_query_key = Linear(width, 4 * width, bias=False)
        self.distance_bias = nn.Parameter(torch.zeros(max_length))
        self.attention_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.dropout = Dropout(dropout)
        self.output = Linear(width, width)

    def forward(
        self, x: Tensor, segments: Segments, generator: torch.Generator | None, *, last_only: bool = False
    ) -> Tensor:
        """Map `[tokens, width]` to `[tokens, width]`, or to `[batch, width]` at the last positions alone."""
        width = x.shape[1]
        gate, others = F.silu(self.gate_value_query_key(self.norm(x))).split([width, 3 * width], dim=1)
        attended = self._attend(others, segments)
        if last_only:
            x, gate, attended = (part.index_select(0, segments.last) for part in (x, gate, attended))
        gated = self.dropout(self.attention_norm(attended) * gate, generator)
        out: Tensor = x + self.output(gated)
        return out

    def _attend(self, value_query_key: Tensor, segments: Segments) -> Tensor:
        """Sum values of places up to each: sequences lie from the left, so that no row reaches an empty place."""
        count, longest = len(segments.lengths), segments.lengths[-1]
        slot = segments.sequence * longest + segments.place
        dense = value_query_key.new_zeros((count * longest, value_query_key.shape[1]))
        dense = dense.index_copy_(0, slot, value_query_key).view(count, longest, 3, self.heads, -1)
        value, query, key = dense.permute(2, 0, 3, 1, 4)  # (count, heads, longest, width / heads)
        nearest_last = F.pad(self.distance_bias[:longest].flip(0), (0, longest - 1))
        bias = nearest_last.unfold(0, longest, 1).flip(0)  # (longest, longest), rows ask; right of the diagonal 0
        weight = F.silu(query @ key.mT + bias.to(query.dtype)).tril() / self.max_length
        attended: Tensor = (weight @ value).transpose(1, 2).flatten(2).flatten(0, 1)  # (places, width)
        return attended.index_select(0, slot)


class HSTU(VectorRanker):
    """Item embeddings, an encoder of `TransducerBlock`s, and cosines with the embeddings."""

    config: HSTUConfig

    def __init__(self, config: HSTUConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        self.embedding = item_table(n_items, config.width)
        self.encoder = Encoder(
            width=config.width,
            blocks=config.blocks,
            heads=config.heads,
            inner=0,
            dropout=config.dropout,
            causal=True,
            positions="start",
            max_length=config.max_length,
            block=partial(TransducerBlock, max_length=config.max_length),
        )
        self.sampler = NegativeSampler(n_items, config.negatives) if config.loss == "sampled" else None

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator` (on the host): the encoder's, biases by distance, normal for items."""
        self.encoder.initialise(generator)
        for name, weight in self.encoder.named_parameters():
            if name.endswith("distance_bias"):
                nn.init.normal_(weight, std=BIAS_STD, generator=generator)
        nn.init.normal_(self.embedding.weight, std=self.config.embedding_std, generator=generator)

    def observe(self, data: StudyData) -> None:
        """Count items for sampled negatives; refuse histories that are longer than `max_length`."""
        refuse_longer_histories(data, self.config.max_length)
        if self.sampler is not None:
            self.sampler.observe(data.popularity, self.config.negatives_power)

    def loss(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Return the configured loss, a mean over all asked positions."""
        x, targets = self._encode(batch, generator, last_only=not batch.everywhere), batch.targets
        if self.sampler is None:
            return blocked_cross_entropy(x, self.items(), targets)
        drawn = self.sampler.draw(generator)
        expected = self.sampler.log_expected.index_select(0, drawn)
        return sampled_cross_entropy(x, self.embedding.weight, targets, drawn, expected, "cosine")

    def users(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Represent every history as its last position sees it: float32 `[batch, width]`."""
        return self._encode(batch, generator, last_only=True)

    def items(self) -> Tensor:
        """Represent every item by its embedding, of unit length: `[n_items, width]`."""
        return unit_rows(self.embedding.weight)

    def _encode(self, batch: PackedBatch, generator: torch.Generator, *, last_only: bool) -> Tensor:
        x = self.embedding(batch.items) * math.sqrt(self.config.width)
        encoded: Tensor = self.encoder(x, Segments.of(batch), generator, last_only=last_only)
        return unit_rows(encoded.float()) / self.config.temperature


FAMILY = Family("hstu", HSTUConfig, HSTU)
