"""A bidirectional Transformer trained to fill in masked items.

Source: Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer"
(CIKM 2019). Of every window and what follows it a share of the items is hidden and asked for; of some windows the last
item alone, which is what ranking asks. Deviations from the authors' code: masks are drawn anew in every epoch instead
of ten times before training; no dropout on attention weights; Xavier weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffurecsys.checks import at_least, one_of, positive, within
from diffurecsys.collective import weighed_by
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.layers.encoder import NORM_EPS, Encoder, Positions
from diffurecsys.layers.item_table import item_table
from diffurecsys.layers.products import Linear
from diffurecsys.layers.segments import Segments
from diffurecsys.losses.cross_entropy import blocked_cross_entropy
from diffurecsys.models.base import Capabilities, Family, RankerConfig, VectorRanker, refuse_longer_histories


@dataclass(frozen=True)
class BERT4RecConfig(RankerConfig):
    """Size, regularisation and masks (defaults: the paper's for Beauty).

    Attributes:
        width: embedding and hidden size d.
        blocks: stacked Transformer blocks.
        heads: attention heads; divides `width`.
        inner: hidden units of the feed-forward, in multiples of `width`.
        dropout: on embeddings and inside the blocks.
        max_length: places, that of the item asked for among them; at least `preprocessing.max_length`.
        positions: learnt vectors counted from the `start` of the history or back from its `end`, or `none`.
        embedding_std: standard deviation of the initial item embeddings.
        masked: share of a window's items that is hidden; at least one is.
        last_only: probability that the last item of a window is hidden instead, and no other.
    """

    width: int = 64
    blocks: int = 2
    heads: int = 2
    inner: int = 4
    dropout: float = 0.5
    max_length: int = 50
    positions: Positions = "start"
    embedding_std: float = 0.02
    masked: float = 0.6
    last_only: float = 1 / 11

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least(self, 1, "width", "blocks", "heads", "inner")
        at_least(self, 2, "max_length")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width {self.width}, heads {self.heads}")
        within(self, 0, 1, "dropout", "masked", "last_only")
        positive(self, "embedding_std")
        one_of(self, ("start", "end", "none"), "positions")

    @property
    def capabilities(self) -> Capabilities:
        """It reads windows whole, with what follows them, and hides for itself what it is asked."""
        return Capabilities(schemes=("window",), vectors=True, longest_history=self.max_length)


class BERT4Rec(VectorRanker):
    """Item embeddings with one more row for [MASK], a bidirectional encoder, a head, and scores with item biases."""

    config: BERT4RecConfig

    def __init__(self, config: BERT4RecConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        self.embedding = item_table(n_items + 1, config.width)
        self.encoder = Encoder(
            width=config.width,
            blocks=config.blocks,
            heads=config.heads,
            inner=config.inner * config.width,
            dropout=config.dropout,
            causal=False,
            norm="post",
            positions=config.positions,
            max_length=config.max_length,
        )
        self.head = Linear(config.width, config.width)
        self.head_norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.bias = nn.Parameter(torch.zeros(n_items))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator` (on the host): the encoder's, Xavier for the head, normal for items."""
        self.encoder.initialise(generator)
        nn.init.xavier_uniform_(self.head.weight, generator=generator)
        nn.init.zeros_(self.head.bias)
        nn.init.normal_(self.embedding.weight, std=self.config.embedding_std, generator=generator)

    def observe(self, data: StudyData) -> None:
        """Refuse histories that are longer than `max_length`."""
        refuse_longer_histories(data, self.config.max_length)

    def loss(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Return the cross-entropy over the catalogue, a mean over all hidden positions."""
        following = batch.targets[Segments.of(batch).last] if batch.everywhere else batch.targets
        tokens, segments = self._followed_by(following, batch)
        hidden, repeated = self._hide(segments, generator)
        x = self.embedding(tokens.index_fill(0, hidden, self.n_items))
        x = self._head(self.encoder(x, segments, generator).index_select(0, hidden))
        # How many positions are repeated only the device knows. They stay, as zeros: those score all items alike, so
        # that they pass no gradient on and add log n to the sum, which is taken off again.
        x = x.masked_fill(repeated[:, None], 0)
        mean = blocked_cross_entropy(x, self.items(), tokens.index_select(0, hidden))
        share = repeated.float().mean()
        return weighed_by((~repeated).sum(), (mean - share * math.log(self.n_items)) / (1 - share))

    def users(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Represent every history by what [MASK] after it sees, and 1: float32 `[batch, width + 1]`."""
        tokens, segments = self._followed_by(torch.full_like(batch.items[: len(batch)], self.n_items), batch)
        encoded = self.encoder(self.embedding(tokens), segments, generator, last_only=True)
        return self._head(encoded).float()

    def items(self) -> Tensor:
        """Represent every item by its embedding and bias: `[n_items, width + 1]`."""
        return torch.cat([self.embedding.weight[: self.n_items], self.bias[:, None]], dim=1)

    def _head(self, x: Tensor) -> Tensor:
        """Map `[rows, width]` to what inner products with `items` turn into scores."""
        x = self.head_norm(F.gelu(self.head(x), approximate="tanh"))
        return F.pad(x, (0, 1), value=1.0)

    def _followed_by(self, following: Tensor, batch: PackedBatch) -> tuple[Tensor, Segments]:
        """Set a token behind every history and keep the last `max_length`: tokens, and the borders between them."""
        lengths = tuple(min(length + 1, self.config.max_length) for length in batch.lengths)
        offsets = F.pad(torch.tensor(lengths).cumsum(0), (1, 0)).int()
        segments = Segments(offsets.to(batch.offsets.device, non_blocking=True), lengths)
        # counted from its end a history stays where it was: only the borders move
        shift = (batch.offsets[1:] - segments.offsets[1:]).long() + 1
        index = torch.arange(sum(lengths), device=shift.device) + shift.index_select(0, segments.sequence)
        index[segments.last] = len(batch.items) + torch.arange(len(lengths), device=shift.device)
        return torch.cat([batch.items, following]).index_select(0, index), segments

    def _hide(self, segments: Segments, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Choose what is hidden, as many positions for a length as are asked for whatever is drawn.

        Returns:
            int64 `[hidden]`, tokens; bool `[hidden]`, whether one stands there again: where the last token alone is
            hidden it fills the places of the others.
        """
        device, lengths = segments.offsets.device, segments.lengths
        counts = tuple(max(1, round(self.config.masked * length)) for length in lengths)
        asked = Segments(F.pad(torch.tensor(counts).cumsum(0), (1, 0)).int().to(device, non_blocking=True), counts)
        key = torch.rand(sum(lengths), generator=generator, device=device, dtype=torch.float64)
        shuffled = torch.argsort(segments.sequence + key)  # within each sequence
        random = shuffled.index_select(0, segments.offsets.long().index_select(0, asked.sequence) + asked.place)
        alone = torch.rand(len(lengths), generator=generator, device=device) < self.config.last_only
        alone = alone.index_select(0, asked.sequence)
        last = segments.last.index_select(0, asked.sequence)
        return torch.where(alone, last, random), alone & (asked.place > 0)


FAMILY = Family("bert4rec", BERT4RecConfig, BERT4Rec)
