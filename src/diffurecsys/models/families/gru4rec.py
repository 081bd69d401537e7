"""A recurrent network over the history whose state ranks the items.

Source: Hidasi, Karatzoglou, "Recurrent Neural Networks with Top-k Gains for Session-based Recommendations" (CIKM 2018),
which gives `bpr_max` and sampling by popularity; first Hidasi et al., "Session-based Recommendations with Recurrent
Neural Networks" (ICLR 2016). `sampled` corrects for how often an item is drawn (logQ), `cross_entropy` is the softmax
over the whole catalogue, as later work trains it. Deviations from the authors' code: whole histories with
back-propagation through all of them instead of one step at a time over sessions side by side; negatives are drawn,
those of the other sequences in the batch are not added; a linear map back to the width of the items, which they share
as input and output (as in RecBole, without biases in the recurrence); no item biases; scores are not passed through
an ELU; dropout on the input alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from diffurecsys.checks import at_least, one_of, positive, within
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.layers.dropout import Dropout
from diffurecsys.layers.item_table import gets_rows, item_table
from diffurecsys.layers.products import Linear
from diffurecsys.layers.recurrent import time_major
from diffurecsys.layers.segments import Segments
from diffurecsys.losses.cross_entropy import blocked_cross_entropy
from diffurecsys.losses.sampled import NegativeSampler, sampled_cross_entropy
from diffurecsys.models.base import Capabilities, Family, RankerConfig, VectorRanker

Loss = Literal["bpr_max", "sampled", "cross_entropy"]


@dataclass(frozen=True)
class GRU4RecConfig(RankerConfig):
    """Size, regularisation and loss.

    Attributes:
        width: of item embeddings.
        hidden: of the recurrent state.
        layers: of the recurrence.
        dropout: on embeddings.
        embedding_std: standard deviation of the initial item embeddings.
        loss: `bpr_max` or `sampled` softmax against `negatives` items a batch, or `cross_entropy` over the catalogue.
        negatives: sampled items.
        negatives_power: they are drawn in proportion to training popularity to this power.
        penalty: of `bpr_max`, on the squared scores of negatives.
    """

    width: int = 64
    hidden: int = 128
    layers: int = 1
    dropout: float = 0.3
    embedding_std: float = 0.02
    loss: Loss = "bpr_max"
    negatives: int = 2048
    negatives_power: float = 0.5
    penalty: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least(self, 1, "width", "hidden", "layers", "negatives")
        within(self, 0, 1, "dropout")
        positive(self, "embedding_std")
        at_least(self, 0, "negatives_power", "penalty")
        one_of(self, get_args(Loss), "loss")

    @property
    def capabilities(self) -> Capabilities:
        """A state has seen nothing that comes later, so every position may be asked."""
        return Capabilities(schemes=("window", "prefix"), vectors=True)


class GRU4Rec(VectorRanker):
    """Item embeddings, a GRU, a linear map, and scores against the embeddings."""

    config: GRU4RecConfig

    def __init__(self, config: GRU4RecConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        self.embedding = item_table(n_items, config.width)
        self.dropout = Dropout(config.dropout)
        self.gru = nn.GRU(config.width, config.hidden, config.layers, bias=False)
        self.output = Linear(config.hidden, config.width)
        self.sampler = None if config.loss == "cross_entropy" else NegativeSampler(n_items, config.negatives)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator` (on the host): Xavier for each gate's matrix, normal for items."""
        for weight in self.gru.parameters():
            for gate in weight.chunk(3):
                nn.init.xavier_uniform_(gate, generator=generator)
        nn.init.xavier_uniform_(self.output.weight, generator=generator)
        nn.init.zeros_(self.output.bias)
        nn.init.normal_(self.embedding.weight, std=self.config.embedding_std, generator=generator)

    def observe(self, data: StudyData) -> None:
        """Count items for sampled negatives."""
        if self.sampler is not None:
            self.sampler.observe(data.popularity, self.config.negatives_power)

    def loss(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Return the configured loss, a mean over all asked positions."""
        x, items, targets = self._encode(batch, generator, last_only=not batch.everywhere), self.items(), batch.targets
        if self.sampler is None:
            return blocked_cross_entropy(x, items, targets)
        drawn = self.sampler.draw(generator)
        if self.config.loss == "bpr_max":
            return bpr_max(x, items, targets, drawn, penalty=self.config.penalty)
        return sampled_cross_entropy(x, items, targets, drawn, self.sampler.log_expected.index_select(0, drawn))

    def users(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Represent every history by the state after it: float32 `[batch, width]`."""
        return self._encode(batch, generator, last_only=True).float()

    def items(self) -> Tensor:
        """Represent every item by its embedding: `[n_items, width]`."""
        return self.embedding.weight

    def _encode(self, batch: PackedBatch, generator: torch.Generator, *, last_only: bool) -> Tensor:
        """Return a vector for every position, or for the last of each history."""
        segments = Segments.of(batch)
        slot, counts = time_major(segments)
        order = torch.empty_like(slot).index_copy_(0, slot, torch.arange(len(slot), device=slot.device))
        x = self.dropout(self.embedding(batch.items.index_select(0, order)), generator)
        with torch.autocast(x.device.type, enabled=False):  # cuDNN's would be float16, whatever type autocast is set to
            states: Tensor = self.gru(PackedSequence(x.float(), counts))[0].data
        asked = slot.index_select(0, segments.last) if last_only else slot
        encoded: Tensor = self.output(states.index_select(0, asked))
        return encoded


def bpr_max(x: Tensor, items: Tensor, targets: Tensor, negatives: Tensor, *, penalty: float) -> Tensor:
    """Mean of -log Σ_j s_j σ(r⁺ - r_j) + penalty · Σ_j s_j r_j², where s is the softmax over the negatives' scores r_j.

    A drawn item may be the target itself: it then adds σ(0). With one negative and no penalty this is BPR.

    Args:
        x: `[asked, width]`.
        items: `[n_items, width]`.
        targets: int64 `[asked]`.
        negatives: int64 `[sample]` drawn items, the same for all positions.
        penalty: on large scores of negatives.
    """
    own = (x * F.embedding(targets, items, sparse=gets_rows(items))).sum(dim=1, keepdim=True).float()  # (asked, 1)
    others = (x @ F.embedding(negatives, items, sparse=gets_rows(items)).T).float()  # (asked, sample)
    share = others.log_softmax(dim=1)
    ranked = (share + F.logsigmoid(own - others)).logsumexp(dim=1)
    return (penalty * (share.exp() * others.square()).sum(dim=1) - ranked).mean()


FAMILY = Family("gru4rec", GRU4RecConfig, GRU4Rec)
