"""A causal Transformer that also tells two altered copies of one history from those of all others.

Source: Xie, Sun, Liu, Wu, Gao, Ding, Cui, "Contrastive Learning for Sequential Recommendation" (CL4SRec, ICDE 2022;
arXiv 2020). The loss is a softmax over the target and sampled items, and a weighted InfoNCE between two copies that
were cropped, masked or reordered. The authors published no code; sizes are those of the version in DuoRec's and
RecBole's repositories, which trains by `cross_entropy`. Deviations from that version: copies are new tensors (there,
masks and shuffles were written into the stored sequences and added up over epochs), Xavier weights, no dropout on
attention weights, no padding; sampled items are shared by a batch, and the softmax is corrected for their number.
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
from diffurecsys.layers.augment import crop, mask, reorder
from diffurecsys.layers.encoder import Encoder
from diffurecsys.layers.item_table import item_table
from diffurecsys.layers.segments import Segments
from diffurecsys.losses.contrastive import info_nce
from diffurecsys.losses.cross_entropy import catalogue_cross_entropy
from diffurecsys.losses.sampled import NegativeSampler, sampled_cross_entropy
from diffurecsys.models.base import Capabilities, Family, RankerConfig, VectorRanker

Loss = Literal["sampled", "cross_entropy"]
Similarity = Literal["dot", "cosine"]
CROP, MASK, REORDER = range(3)


@dataclass(frozen=True)
class CL4SRecConfig(RankerConfig):
    """Size, regularisation, loss and contrast.

    Attributes:
        width: embedding and hidden size d.
        blocks: stacked Transformer blocks.
        heads: attention heads; divides `width`.
        inner: hidden units of the feed-forward, in multiples of `width`.
        dropout: on embeddings and inside the blocks.
        max_length: longest history; at least `preprocessing.max_length`.
        embedding_std: standard deviation of the initial item embeddings.
        loss: `sampled` softmax against `negatives` uniformly drawn items a batch, or `cross_entropy` over all items.
        negatives: sampled items.
        contrast: weight λ of InfoNCE.
        temperature: τ of InfoNCE.
        similarity: InfoNCE compares by inner products (`dot`) or `cosine`.
        cropped: share of a history that cropping keeps.
        masked: share of a history that masking hides.
        reordered: share of a history that reordering shuffles.
    """

    width: int = 64
    blocks: int = 2
    heads: int = 2
    inner: int = 4
    dropout: float = 0.5
    max_length: int = 50
    embedding_std: float = 0.02
    loss: Loss = "sampled"
    negatives: int = 1024
    contrast: float = 0.1
    temperature: float = 1.0
    similarity: Similarity = "dot"
    cropped: float = 0.6
    masked: float = 0.3
    reordered: float = 0.6

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least(self, 1, "width", "blocks", "heads", "inner", "max_length", "negatives")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width {self.width}, heads {self.heads}")
        within(self, 0, 1, "dropout", "cropped", "masked", "reordered")
        positive(self, "embedding_std", "temperature")
        at_least(self, 0, "contrast")
        one_of(self, get_args(Loss), "loss")
        one_of(self, get_args(Similarity), "similarity")

    @property
    def capabilities(self) -> Capabilities:
        """Attention is causal, so every position may be asked."""
        return Capabilities(schemes=("window", "prefix"), vectors=True)


class CL4SRec(VectorRanker):
    """Item embeddings, with one more that hides an item, and a causal encoder."""

    config: CL4SRecConfig

    def __init__(self, config: CL4SRecConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        self.embedding = item_table(n_items + 1, config.width)
        self.encoder = Encoder(
            width=config.width,
            blocks=config.blocks,
            heads=config.heads,
            inner=config.inner * config.width,
            dropout=config.dropout,
            causal=True,
            norm="post",
            positions="start",
            max_length=config.max_length,
        )
        self.sampler = NegativeSampler(n_items, config.negatives)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator` (on the host): the encoder's, and N(0, `embedding_std`) for items."""
        self.encoder.initialise(generator)
        nn.init.normal_(self.embedding.weight, std=self.config.embedding_std, generator=generator)

    def observe(self, data: StudyData) -> None:
        """Refuse what this network cannot read.

        Raises:
            ValueError: histories are too long.
        """
        if data.split.max_length > self.config.max_length:
            raise ValueError(
                f"network.max_length must be at least preprocessing.max_length ({data.split.max_length}), "
                f"got {self.config.max_length}"
            )

    def loss(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Return the configured loss, a mean over all asked positions, plus the weighted contrast."""
        x, items = self._encode(batch, generator, last_only=not batch.everywhere), self.items()
        if self.config.loss == "cross_entropy":
            loss = catalogue_cross_entropy(x, items, batch.targets)
        else:
            drawn = self.sampler.draw(generator)
            loss = sampled_cross_entropy(x, items, batch.targets, drawn, self.sampler.log_expected[drawn])
        if not self.config.contrast:
            return loss
        views = []
        for view, order in self.views(batch, generator):
            encoded = self._encode(view, generator, last_only=True)[order.argsort()]
            views.append(F.normalize(encoded.float(), dim=1) if self.config.similarity == "cosine" else encoded)
        return loss + self.config.contrast * info_nce(views[0], views[1], self.config.temperature)

    def views(self, batch: PackedBatch, generator: torch.Generator) -> list[tuple[PackedBatch, Tensor]]:
        """Alter every history by two of the three operations, one a copy; single items stay.

        Returns:
            Two pairs of a batch, sorted by length, and int64 `[batch]`: the history that each of its rows comes from.
        """
        lengths = batch.offsets.diff().long()
        first = torch.randint(3, (len(batch),), generator=generator, device=lengths.device)
        second = (first + torch.randint(1, 3, (len(batch),), generator=generator, device=lengths.device)) % 3
        views = []
        for operation in (first, second):
            operation = operation.masked_fill(lengths == 1, MASK)  # of a single item, less than one is masked
            kept = torch.where(operation == CROP, _share(lengths, self.config.cropped).clamp(min=1), lengths)
            hidden = _share(lengths, self.config.masked) * (operation == MASK)
            moved = _share(lengths, self.config.reordered) * (operation == REORDER)
            altered = reorder(mask(batch, hidden, self.n_items, generator), moved, generator)
            views.append(crop(altered, kept, generator))
        return views

    def users(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Represent every history as its last position sees it: float32 `[batch, width]`."""
        return self._encode(batch, generator, last_only=True).float()

    def items(self) -> Tensor:
        """Represent every item by its embedding: `[n_items, width]`."""
        return self.embedding.weight[: self.n_items]

    def _encode(self, batch: PackedBatch, generator: torch.Generator, *, last_only: bool) -> Tensor:
        encoded: Tensor = self.encoder(self.embedding(batch.items), Segments.of(batch), generator, last_only=last_only)
        return encoded


def _share(lengths: Tensor, share: float) -> Tensor:
    return (lengths.double() * share).long()


FAMILY = Family("cl4srec", CL4SRecConfig, CL4SRec)
