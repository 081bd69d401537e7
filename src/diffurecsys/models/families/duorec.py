"""A causal Transformer whose view of a history is drawn towards another history with the same target.

Source: Qiu, Huang, Yin, Wang, "Contrastive Learning for Representation Degeneration Problem in Sequential
Recommendation" (DuoRec, WSDM 2022). The loss is cross-entropy over the catalogue plus a weighted InfoNCE between the
history encoded once more (other dropout masks) and a random other training example with the same target. Deviations
from the released code: Xavier weights in place of N(0, 0.02), no dropout on attention weights, no padding. As there,
examples of one batch that share a target count as negatives of each other, unless `mask_same_target`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffurecsys.checks import at_least, positive, within
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.schemes import prefixes
from diffurecsys.data.split import StudyData
from diffurecsys.layers.augment import pack_spans
from diffurecsys.layers.encoder import Encoder
from diffurecsys.layers.item_table import item_table
from diffurecsys.layers.segments import Segments
from diffurecsys.losses.contrastive import info_nce
from diffurecsys.losses.cross_entropy import catalogue_cross_entropy
from diffurecsys.models.base import Capabilities, Family, RankerConfig, VectorRanker

HASH_BITS = 40  # beside 23 bits for the target: 8 million items
HASH_BASE, HASH_MULTIPLIER = -7046029254386353131, -4417276706812531889  # odd 64-bit constants


@dataclass(frozen=True)
class DuoRecConfig(RankerConfig):
    """Size, regularisation and contrast (defaults: the released code's).

    Attributes:
        width: embedding and hidden size d.
        blocks: stacked Transformer blocks.
        heads: attention heads; divides `width`.
        inner: hidden units of the feed-forward, in multiples of `width`.
        dropout: on embeddings and inside the blocks; what makes two encodings of one history differ.
        max_length: longest history; at least `preprocessing.max_length`.
        embedding_std: standard deviation of the initial item embeddings.
        contrast: weight λ of InfoNCE.
        temperature: τ of InfoNCE.
        mask_same_target: whether examples of a batch with the same target are left out of each other's negatives.
    """

    width: int = 64
    blocks: int = 2
    heads: int = 2
    inner: int = 4
    dropout: float = 0.5
    max_length: int = 50
    embedding_std: float = 0.02
    contrast: float = 0.1
    temperature: float = 1.0
    mask_same_target: bool = False

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least(self, 1, "width", "blocks", "heads", "inner", "max_length")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width {self.width}, heads {self.heads}")
        within(self, 0, 1, "dropout")
        positive(self, "embedding_std", "temperature")
        at_least(self, 0, "contrast")

    @property
    def capabilities(self) -> Capabilities:
        """A positive belongs to one target, so only ends of histories are asked."""
        return Capabilities(schemes=("prefix",), vectors=True)


class DuoRec(VectorRanker):
    """Item embeddings and a causal encoder; in training an index of all examples by target.

    The index is no part of the weights: `observe` makes it, and only `loss` reads it.
    """

    config: DuoRecConfig
    _items: Tensor  # int32 [events], the store's
    _start: Tensor  # int64 [examples], of histories in _items, by target, then by history
    _lengths: Tensor  # int64 [examples]
    _keys: Tensor  # int64 [examples], ascending: target and hash of the history

    def __init__(self, config: DuoRecConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        self.embedding = item_table(n_items, config.width)
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
        self.register_buffer("_items", torch.empty(0, dtype=torch.int32), persistent=False)
        for name in ("_start", "_lengths", "_keys"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int64), persistent=False)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator` (on the host): the encoder's, and N(0, `embedding_std`) for items."""
        self.encoder.initialise(generator)
        nn.init.normal_(self.embedding.weight, std=self.config.embedding_std, generator=generator)

    def observe(self, data: StudyData) -> None:
        """Sort all training examples by target.

        Raises:
            ValueError: histories are longer than this network can read.
        """
        if data.split.max_length > self.config.max_length:
            raise ValueError(
                f"network.max_length must be at least preprocessing.max_length ({data.split.max_length}), "
                f"got {self.config.max_length}"
            )
        examples = prefixes(data.split.train, data.split.max_length)
        self._items = data.store.items.to(self._items.device)
        start, lengths, targets = (
            x.to(self._items.device) for x in (examples.start, examples.lengths, data.store.items[examples.end].long())
        )
        histories, order = pack_spans(self._items, start, lengths)
        self._keys, by_key = torch.sort(_keys(histories, targets[order]), stable=True)
        self._start, self._lengths = start[order][by_key], lengths[order][by_key]

    def positives(self, batch: PackedBatch, generator: torch.Generator) -> tuple[PackedBatch, Tensor]:
        """Draw for every history another training history with its target, uniformly; itself where there is none.

        A history is recognised by its items, so that of several equal ones one is left out.

        Returns:
            The drawn histories sorted by length, and int64 `[batch]`: the history of `batch` that each belongs to.
        """
        borders = torch.stack([batch.targets, batch.targets + 1]) << HASH_BITS
        first, end = torch.searchsorted(self._keys, borders)
        own = torch.searchsorted(self._keys, _keys(batch, batch.targets))
        others = end - first - 1
        uniform = torch.rand(len(batch), generator=generator, device=first.device, dtype=torch.float64)
        drawn = first + (uniform * others).long()
        drawn = drawn + (drawn >= own)  # own is skipped
        alone, drawn = others < 1, drawn.clamp(max=len(self._keys) - 1)
        start = torch.where(alone, len(self._items) + batch.offsets[:-1], self._start[drawn])
        lengths = torch.where(alone, batch.offsets.diff().long(), self._lengths[drawn])
        return pack_spans(torch.cat([self._items, batch.items.int()]), start, lengths)

    def loss(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Return cross-entropy of the targets plus the weighted contrast."""
        loss = catalogue_cross_entropy(self._encode(batch, generator), self.items(), batch.targets)
        if not self.config.contrast:
            return loss
        positives, order = self.positives(batch, generator)
        again, other = self._encode(batch, generator), self._encode(positives, generator)
        groups = batch.targets[order] if self.config.mask_same_target else None
        return loss + self.config.contrast * info_nce(again[order], other, self.config.temperature, groups)

    def users(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Represent every history as its last position sees it: float32 `[batch, width]`."""
        return self._encode(batch, generator).float()

    def items(self) -> Tensor:
        """Represent every item by its embedding: `[n_items, width]`."""
        return self.embedding.weight

    def _encode(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        encoded: Tensor = self.encoder(self.embedding(batch.items), Segments.of(batch), generator, last_only=True)
        return encoded


def _keys(histories: PackedBatch, targets: Tensor) -> Tensor:
    """int64 `[batch]`: the target above `HASH_BITS` bits of a polynomial hash of the history (integers wrap around)."""
    segments = Segments.of(histories)
    powers = torch.full((histories.max_length,), HASH_BASE, device=targets.device).cumprod(0)
    terms = (histories.items + 1) * powers[segments.place]
    total = torch.zeros_like(targets).index_add_(0, segments.sequence, terms) * HASH_MULTIPLIER
    keys: Tensor = (targets << HASH_BITS) + ((total >> (64 - HASH_BITS)) & (2**HASH_BITS - 1))
    return keys


FAMILY = Family("duorec", DuoRecConfig, DuoRec)
