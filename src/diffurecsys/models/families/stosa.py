"""Items and histories as Gaussians, compared by the squared 2-Wasserstein distance in attention and in scores.

Source: Fan, Liu, Wang, Wang, Nazari, Zheng, Peng, Yu, "Sequential Recommendation via Stochastic Self-Attention"
(STOSA, WWW 2022). With diagonal covariances the distance is ‖μ - μ'‖² + ‖√Σ - √Σ'‖². Deviations from the released code:
there every layer's mean is assigned to a misspelt variable and lost, so that a history's mean is its embedded last
item and only the covariance sees the rest; `propagate_mean: false` gives that, the default what the paper describes.
No padding (positions count back from the end, as left padding gives), no dropout on attention weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffurecsys.checks import at_least, one_of, within
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.layers.dropout import Dropout
from diffurecsys.layers.item_table import item_table
from diffurecsys.layers.segments import Segments
from diffurecsys.layers.stochastic_attention import (
    NORM_EPS,
    StochasticLayer,
    square_root,
    to_covariance,
    wasserstein_distance,
)
from diffurecsys.losses.binary import sample_negatives
from diffurecsys.losses.cross_entropy import catalogue_cross_entropy
from diffurecsys.models.base import Capabilities, Family, RankerConfig, VectorRanker

INITIAL_MEAN, INITIAL_STD = 0.01, 0.02  # of all matrices, the released code's

Loss = Literal["pairwise", "cross_entropy"]


@dataclass(frozen=True)
class STOSAConfig(RankerConfig):
    """Size, regularisation and loss (defaults: the released settings for Beauty).

    Attributes:
        width: of each of the two streams, means and covariances.
        blocks: stacked layers.
        heads: attention heads; divides `width`.
        dropout: on embeddings and inside the layers.
        max_length: longest history; at least `preprocessing.max_length`.
        loss: `pairwise`, -log σ(D⁻ - D⁺) against one item a position that the user did not have, or `cross_entropy`
            over the catalogue with -D as scores.
        margin: of `pairwise`: weight λ of max(0, D⁺ - D(target, negative)).
        propagate_mean: whether layers change the means; false as released.
    """

    width: int = 64
    blocks: int = 1
    heads: int = 4
    dropout: float = 0.3
    max_length: int = 100
    loss: Loss = "pairwise"
    margin: float = 0.005
    propagate_mean: bool = True

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least(self, 1, "width", "blocks", "heads", "max_length")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width {self.width}, heads {self.heads}")
        within(self, 0, 1, "dropout")
        at_least(self, 0, "margin")
        one_of(self, get_args(Loss), "loss")

    @property
    def capabilities(self) -> Capabilities:
        """Attention is causal, so every position may be asked."""
        return Capabilities(schemes=("window", "prefix"), vectors=True)


class STOSA(VectorRanker):
    """Tables of means and covariances for items and positions, and stochastic attention."""

    config: STOSAConfig

    def __init__(self, config: STOSAConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        self.mean, self.covariance = item_table(n_items, config.width), item_table(n_items, config.width)
        self.mean_position = nn.Embedding(config.max_length, config.width)
        self.covariance_position = nn.Embedding(config.max_length, config.width)
        self.norm, self.dropout = nn.LayerNorm(config.width, eps=NORM_EPS), Dropout(config.dropout)
        self.layers = nn.ModuleList(
            StochasticLayer(config.width, config.heads, config.dropout, changes_mean=config.propagate_mean)
            for _ in range(config.blocks)
        )

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all matrices from N(0.01, 0.02²), on the host; biases are 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, INITIAL_MEAN, INITIAL_STD, generator=generator)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

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
        """Return the configured loss, a mean over all asked positions."""
        mean, covariance = self._encode(batch, generator)
        if not batch.everywhere:
            last = Segments.of(batch).last
            mean, covariance = mean[last], covariance[last]
        with torch.autocast(mean.device.type, enabled=False):
            if self.config.loss == "cross_entropy":
                return catalogue_cross_entropy(_users(mean, covariance), self.items(), batch.targets)
            negatives = sample_negatives(batch, self.n_items, 1, generator)[:, 0]
            own, other = self._item(batch.targets), self._item(negatives)
            near = wasserstein_distance(mean, covariance, *own)
            loss = F.softplus(near - wasserstein_distance(mean, covariance, *other)).mean()
            return loss + self.config.margin * (near - wasserstein_distance(*own, *other)).clamp(min=0).mean()

    def users(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Represent every history as its last position sees it: float32 `[batch, 2 width + 1]`."""
        mean, covariance = self._encode(batch, generator)
        last = Segments.of(batch).last
        return _users(mean[last], covariance[last]).float()

    def items(self) -> Tensor:
        """Represent every item: `[n_items, 2 width + 1]`; products with `users` are -D up to a constant of the user."""
        mean, covariance = self.mean.weight, to_covariance(self.covariance.weight)
        norm = (mean.square() + covariance).sum(1, keepdim=True)
        return torch.cat([mean, square_root(covariance), -norm], dim=1)

    def _item(self, items: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(items), to_covariance(self.covariance(items))

    def _encode(self, batch: PackedBatch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        segments = Segments.of(batch)
        lengths = segments.offsets.diff().long()[segments.sequence]
        place = segments.place + self.config.max_length - lengths
        mean, covariance = self.mean(batch.items), self.covariance(batch.items)
        mean = F.elu(self.dropout(self.norm(mean + self.mean_position(place)), generator))
        covariance = to_covariance(self.dropout(self.norm(covariance + self.covariance_position(place)), generator))
        for layer in self.layers:
            mean, covariance = layer(mean, covariance, segments, generator)
        return mean.to(self.norm.weight.dtype), covariance.to(self.norm.weight.dtype)


def _users(mean: Tensor, covariance: Tensor) -> Tensor:
    return torch.cat([2 * mean, 2 * square_root(covariance), torch.ones_like(mean[:, :1])], dim=1)


FAMILY = Family("stosa", STOSAConfig, STOSA)
