"""A causal Transformer that predicts the next item at every position.

Source: Kang, McAuley, "Self-Attentive Sequential Recommendation" (ICDM 2018). Losses: binary cross-entropy against
sampled items is the paper's; `gbce` is gSASRec's (Petrov, Macdonald, RecSys 2023); `sampled` and `cross_entropy` are
the softmax over a sample and over the whole catalogue, which most of the later gains come from (Klenitskiy, Vasilev,
"Turning Dross Into Gold Loss: is BERT4Rec really better than SASRec?", RecSys 2023). Deviations from the paper's code:
usual pre-norm blocks (the code adds the normalised query, not the input, to what attention returns, and has no output
map), GELU in the feed-forward, no dropout on attention weights, Xavier weights, and no padding; positions counted back
from the end of the history (`end`) are what its left padding gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from diffurecsys.checks import at_least, one_of, positive, within
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.layers.encoder import Encoder, Positions
from diffurecsys.layers.item_table import item_table
from diffurecsys.layers.segments import Segments
from diffurecsys.layers.similarity import Similarity, asked_vectors, offered_vectors
from diffurecsys.losses.binary import binary_cross_entropy, sample_negatives
from diffurecsys.losses.cross_entropy import blocked_cross_entropy
from diffurecsys.losses.sampled import NegativeSampler, sampled_cross_entropy
from diffurecsys.models.base import Capabilities, Family, RankerConfig, VectorRanker

Loss = Literal["bce", "gbce", "sampled", "cross_entropy"]


@dataclass(frozen=True)
class SASRecConfig(RankerConfig):
    """Size, regularisation and loss (defaults: the paper's for sparse data).

    Attributes:
        width: embedding and hidden size d.
        blocks: stacked Transformer blocks.
        heads: attention heads; divides `width`.
        inner: hidden units of the feed-forward, in multiples of `width`.
        dropout: on embeddings and inside the blocks.
        max_length: longest history; at least `preprocessing.max_length`.
        positions: `end` (learnt vectors, counted back from the end of the history), `start`, `relative` (a learnt
            number for each head and distance in the attention) or `none`.
        embedding_std: standard deviation of the initial item embeddings.
        input_scale: what the history's item embeddings are multiplied by; None: sqrt(width), as in the paper's code. A
            smaller one leaves less of the last item in its own representation, and so fewer items of the history among
            the first.
        loss: `bce` and `gbce` against `negatives` items a position that the user did not have, `sampled` softmax
            against `negatives` items a batch, or `cross_entropy` over the whole catalogue.
        negatives: sampled items.
        negatives_power: of `sampled`: they are drawn in proportion to training popularity to this power, and the loss
            corrects for it.
        calibration: t of `gbce`, in [0, 1]; 0 is `bce`.
        similarity: scores are inner products (`dot`) or cosines divided by `temperature`.
        temperature: of `cosine`.
    """

    width: int = 50
    blocks: int = 2
    heads: int = 1
    inner: int = 1
    dropout: float = 0.5
    max_length: int = 50
    positions: Positions = "end"
    embedding_std: float = 0.02
    input_scale: float | None = None
    loss: Loss = "bce"
    negatives: int = 1
    negatives_power: float = 0.0
    calibration: float = 0.75
    similarity: Similarity = "dot"
    temperature: float = 0.06

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least(self, 1, "width", "blocks", "heads", "inner", "max_length", "negatives")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width {self.width}, heads {self.heads}")
        within(self, 0, 1, "dropout")
        positive(self, "embedding_std", "input_scale", "temperature")
        at_least(self, 0, "negatives_power", "calibration")
        if self.calibration > 1:
            raise ValueError(f"calibration must lie in [0, 1], got {self.calibration}")
        one_of(self, get_args(Positions), "positions")
        one_of(self, get_args(Loss), "loss")
        one_of(self, get_args(Similarity), "similarity")

    @property
    def capabilities(self) -> Capabilities:
        """Attention is causal, so every position may be asked."""
        return Capabilities(schemes=("window", "prefix"), vectors=True)


class SASRec(VectorRanker):
    """Item embeddings, a causal encoder, and scores against the embeddings."""

    config: SASRecConfig

    def __init__(self, config: SASRecConfig, n_items: int) -> None:
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
        )
        self.sampler = NegativeSampler(n_items, config.negatives) if config.loss == "sampled" else None

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator` (on the host): the encoder's, and N(0, `embedding_std`) for items."""
        self.encoder.initialise(generator)
        nn.init.normal_(self.embedding.weight, std=self.config.embedding_std, generator=generator)

    def observe(self, data: StudyData) -> None:
        """Count items for sampled negatives.

        Raises:
            ValueError: histories are longer than this network can read.
        """
        self.encoder.refuse_longer(data.split.max_length)
        if self.sampler is not None:
            self.sampler.observe(data.popularity, self.config.negatives_power)

    def loss(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Return the configured loss, a mean over all asked positions."""
        x, targets = self._encode(batch, generator, last_only=not batch.everywhere), batch.targets
        if self.config.loss == "cross_entropy":
            return blocked_cross_entropy(x, self.items(), targets)
        if self.sampler is not None:
            drawn = self.sampler.draw(generator)
            expected = self.sampler.log_expected.index_select(0, drawn)
            return sampled_cross_entropy(x, self.embedding.weight, targets, drawn, expected, self.config.similarity)
        negatives = sample_negatives(batch, self.n_items, self.config.negatives, generator)
        calibration = self.config.calibration if self.config.loss == "gbce" else 0.0
        return binary_cross_entropy(x, self.items(), targets, negatives, calibration=calibration)

    def users(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Represent every history as its last position sees it: float32 `[batch, width]`."""
        return self._encode(batch, generator, last_only=True).float()

    def items(self) -> Tensor:
        """Represent every item: the embeddings, of unit length if cosines are compared; `[n_items, width]`."""
        return offered_vectors(self.embedding.weight, self.config.similarity)

    def _encode(self, batch: PackedBatch, generator: torch.Generator, *, last_only: bool) -> Tensor:
        """Return what inner products with `items` turn into scores."""
        scale = math.sqrt(self.config.width) if self.config.input_scale is None else self.config.input_scale
        x = self.embedding(batch.items) * scale
        encoded: Tensor = self.encoder(x, Segments.of(batch), generator, last_only=last_only)
        return asked_vectors(encoded, self.config.similarity, self.config.temperature)


FAMILY = Family("sasrec", SASRecConfig, SASRec)
