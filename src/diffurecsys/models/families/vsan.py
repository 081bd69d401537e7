"""A variational autoencoder over sequences with causal self-attention as its encoder and its decoder.

Source: Zhao, Zhao, Liu, Sheng, Zhang, Zhang, Zhou, "Variational Self-attention Network for Sequential Recommendation"
(VSAN, ICDE 2021). Every position has a Gaussian latent; the loss is cross-entropy of the next item plus an annealed
divergence from N(0, I). The authors published no code: annealing is that of FedDCSR's version, the encoder is one trunk
with two heads (there, two stacks make the mean and the variance). The paper's next k items are one here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffurecsys.checks import at_least, positive, within
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.layers.encoder import Encoder
from diffurecsys.layers.item_table import item_table
from diffurecsys.layers.segments import Segments
from diffurecsys.losses.cross_entropy import catalogue_cross_entropy
from diffurecsys.models.base import Capabilities, Family, RankerConfig, VectorRanker


@dataclass(frozen=True)
class VSANConfig(RankerConfig):
    """Size, regularisation and annealing.

    Attributes:
        width: embedding, hidden and latent size d.
        blocks: causal Transformer blocks before the latents.
        decoder_blocks: causal Transformer blocks after them.
        heads: attention heads; divides `width`.
        inner: hidden units of the feed-forward, in multiples of `width`.
        dropout: on embeddings and inside the blocks.
        max_length: longest history; at least `preprocessing.max_length`.
        embedding_std: standard deviation of the initial item embeddings and of the output matrix.
        cap: largest weight β of the divergence; 0 leaves it out.
        annealing: training steps in which β rises from 0 to 1, or until `cap` holds it.
    """

    width: int = 64
    blocks: int = 1
    decoder_blocks: int = 1
    heads: int = 2
    inner: int = 1
    dropout: float = 0.3
    max_length: int = 50
    embedding_std: float = 0.02
    cap: float = 1.0
    annealing: int = 10_000

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least(self, 1, "width", "blocks", "decoder_blocks", "heads", "inner", "max_length", "annealing")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width {self.width}, heads {self.heads}")
        within(self, 0, 1, "dropout")
        positive(self, "embedding_std")
        at_least(self, 0, "cap")

    @property
    def capabilities(self) -> Capabilities:
        """Attention is causal, so every position may be asked; scores come from the latents' means."""
        return Capabilities(schemes=("window", "prefix"), vectors=True)


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) ‖ N(0, I)), summed over the last dimension."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)


class VSAN(VectorRanker):
    """Item embeddings, an encoder with two heads, a decoder, and an output matrix with biases of its own.

    Attributes:
        step: int64, training steps so far: part of the state, so that a resumed training anneals on.
        divergence: of the last training step, a mean over positions: near 0, the latents have collapsed.
    """

    config: VSANConfig
    step: Tensor
    divergence: Tensor

    def __init__(self, config: VSANConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        width = config.width

        def encoder(blocks: int, *, first: bool) -> Encoder:
            return Encoder(
                width=width,
                blocks=blocks,
                heads=config.heads,
                inner=config.inner * width,
                dropout=config.dropout,
                causal=True,
                positions="end" if first else "none",
                max_length=config.max_length,
            )

        self.embedding, self.output = item_table(n_items, width), nn.Linear(width, n_items)
        self.encoder = encoder(config.blocks, first=True)
        self.mean, self.log_variance = nn.Linear(width, width), nn.Linear(width, width)
        self.decoder = encoder(config.decoder_blocks, first=False)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("divergence", torch.zeros(()), persistent=False)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator`, on the host."""
        self.encoder.initialise(generator)
        self.decoder.initialise(generator)
        for head in (self.mean, self.log_variance):
            nn.init.xavier_uniform_(head.weight, generator=generator)
            nn.init.zeros_(head.bias)
        nn.init.normal_(self.embedding.weight, std=self.config.embedding_std, generator=generator)
        nn.init.normal_(self.output.weight, std=self.config.embedding_std, generator=generator)
        nn.init.zeros_(self.output.bias)

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
        """Return cross-entropy from drawn latents plus β times their divergence, a mean over all asked positions."""
        segments = Segments.of(batch)
        mean, log_variance = self._latents(batch, segments, generator)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        x = self._decode(mean + (0.5 * log_variance).exp() * noise, segments, generator, last_only=not batch.everywhere)
        divergence = gaussian_divergence(mean, log_variance)
        divergence = (divergence if batch.everywhere else divergence[segments.last]).mean()
        self.divergence.copy_(divergence.detach())
        beta = (self.step / self.config.annealing).clamp(max=self.config.cap)
        if self.training:
            self.step += 1
        return catalogue_cross_entropy(x, self.items(), batch.targets) + beta * divergence

    def users(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Represent every history by its decoded means and a 1 for the biases: float32 `[batch, width + 1]`."""
        segments = Segments.of(batch)
        mean, _ = self._latents(batch, segments, generator)
        return self._decode(mean, segments, generator, last_only=True).float()

    def items(self) -> Tensor:
        """Represent every item by its row of the output matrix and its bias: `[n_items, width + 1]`."""
        return torch.cat([self.output.weight, self.output.bias[:, None]], dim=1)

    def _latents(self, batch: PackedBatch, segments: Segments, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Means and logarithms of variances, `[tokens, width]` each."""
        x = self.embedding(batch.items) * math.sqrt(self.config.width)
        x = self.encoder(x, segments, generator)
        with torch.autocast(x.device.type, enabled=False):  # variances are exponentials
            x = x.to(self.mean.weight.dtype)
            return self.mean(x), self.log_variance(x)

    def _decode(self, z: Tensor, segments: Segments, generator: torch.Generator, *, last_only: bool) -> Tensor:
        x = self.decoder(z, segments, generator, last_only=last_only)
        return torch.cat([x, torch.ones_like(x[:, :1])], dim=1)


FAMILY = Family("vsan", VSANConfig, VSAN)
