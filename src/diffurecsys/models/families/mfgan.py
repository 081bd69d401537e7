"""A SASRec-like generator that discriminators reward, one for each factor of an item; without side information.

Source: Ren, Liu, Li, Zhao, Wang, Ding, Wen, "Sequential Recommendation with Self-attentive Multi-adversarial Network"
(MFGAN, SIGIR 2020). Each discriminator tells real sequences from those whose last item the generator chose. The paper's
side information was never published: the factors here are the item and the decile of its popularity in training.
Deviations from the released code: its discriminators learn from whole sequences, the test item included, and here from
training histories and what follows them there; phases are counted in steps, not epochs; real and invented sequences
weigh the same; one optimiser (rewards are held still for the generator, its choices are no function of its weights);
the generator is the usual Transformer. As in that code, and unlike the paper's policy gradient, the reward multiplies
the positive half of binary cross-entropy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffurecsys.checks import at_least, positive, within
from diffurecsys.collective import weighed_by
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.layers.discriminator import Discriminator
from diffurecsys.layers.encoder import Encoder
from diffurecsys.layers.item_table import item_table
from diffurecsys.layers.segments import Segments
from diffurecsys.losses.binary import sample_negatives
from diffurecsys.models.base import Capabilities, Family, RankerConfig, VectorRanker

DECILES = 10
DISCRIMINATOR_DROPOUT, DISCRIMINATOR_DECAY = 0.25, 0.2  # the latter: L2 of what turns states into verdicts


@dataclass(frozen=True)
class MFGANConfig(RankerConfig):
    """Size, regularisation and phases (defaults: the released code's, phases in its proportion).

    Attributes:
        width: embedding and hidden size d, of discriminators too.
        blocks: stacked Transformer blocks of the generator.
        heads: attention heads; divides `width`.
        dropout: on embeddings and inside the generator's blocks.
        max_length: longest history; at least `preprocessing.max_length`.
        embedding_std: standard deviation of the initial item embeddings.
        fakes: sequences that the generator makes of each real one, with its best items in the last place.
        warmup: first training steps, in which the generator learns alone, without rewards.
        discriminator_every: afterwards the discriminators learn in one of so many steps; 1: in each.
    """

    width: int = 50
    blocks: int = 2
    heads: int = 2
    dropout: float = 0.2
    max_length: int = 50
    embedding_std: float = 0.02
    fakes: int = 10
    warmup: int = 10_000
    discriminator_every: int = 80

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least(self, 1, "width", "blocks", "heads", "max_length", "fakes", "discriminator_every")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width {self.width}, heads {self.heads}")
        within(self, 0, 1, "dropout")
        positive(self, "embedding_std")
        at_least(self, 0, "warmup")

    @property
    def capabilities(self) -> Capabilities:
        """A sequence is judged as a whole and learnt from at every position."""
        return Capabilities(schemes=("window",), vectors=True)


class MFGAN(VectorRanker):
    """Item embeddings and a causal encoder, and in training two discriminators.

    Attributes:
        step: int64, training steps so far: part of the state, so that a resumed training is in the same phase.
        decile: int64 `[n_items]`, by popularity in training; `observe` makes it and only `loss` reads it.
    """

    config: MFGANConfig
    step: Tensor
    decile: Tensor

    def __init__(self, config: MFGANConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        width, heads, length = config.width, config.heads, config.max_length
        self.embedding = item_table(n_items, width)
        self.encoder = Encoder(
            width=width,
            blocks=config.blocks,
            heads=heads,
            inner=width,
            dropout=config.dropout,
            causal=True,
            positions="end",
            max_length=length,
        )
        self.discriminators = nn.ModuleList(
            Discriminator(n_values, width, heads, DISCRIMINATOR_DROPOUT, length) for n_values in (n_items, DECILES)
        )
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("decile", torch.zeros(n_items, dtype=torch.int64), persistent=False)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator`, on the host."""
        self.encoder.initialise(generator)
        nn.init.normal_(self.embedding.weight, std=self.config.embedding_std, generator=generator)
        for discriminator in self.discriminators:
            assert isinstance(discriminator, Discriminator)
            discriminator.initialise(generator)

    def observe(self, data: StudyData) -> None:
        """Sort items into deciles of their popularity in training.

        Raises:
            ValueError: histories are longer than this network can read.
        """
        if data.split.max_length > self.config.max_length:
            raise ValueError(
                f"network.max_length must be at least preprocessing.max_length ({data.split.max_length}), "
                f"got {self.config.max_length}"
            )
        rank = data.popularity.argsort(stable=True).argsort()
        self.decile.copy_(torch.div(rank * DECILES, self.n_items, rounding_mode="floor"))

    def loss(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Return the generator's loss, and in their steps the discriminators' beside it."""
        segments, step = Segments.of(batch), int(self.step)
        if self.training:
            self.step += 1
        x = self._encode(batch, segments, generator, last_only=False)
        reward, of_discriminators = torch.ones((), device=x.device), torch.zeros((), device=x.device)
        if step >= self.config.warmup:
            learn = (step - self.config.warmup) % self.config.discriminator_every == 0
            reward, of_discriminators = self._judge(batch, segments, x, generator, learn=learn)
            reward = reward[segments.sequence]
        negatives = sample_negatives(batch, self.n_items, 1, generator)[:, 0]
        own, other = ((x * self.embedding(items)).sum(1).float() for items in (batch.targets, negatives))
        return (reward * F.softplus(-own) + F.softplus(other)).mean() + of_discriminators

    def users(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Represent every history as its last position sees it: float32 `[batch, width]`."""
        return self._encode(batch, Segments.of(batch), generator, last_only=True).float()

    def items(self) -> Tensor:
        """Represent every item by its embedding: `[n_items, width]`."""
        return self.embedding.weight

    def _encode(self, batch: PackedBatch, segments: Segments, generator: torch.Generator, *, last_only: bool) -> Tensor:
        x = self.embedding(batch.items) * math.sqrt(self.config.width)
        encoded: Tensor = self.encoder(x, segments, generator, last_only=last_only)
        return encoded

    def _judge(
        self, batch: PackedBatch, segments: Segments, x: Tensor, generator: torch.Generator, *, learn: bool
    ) -> tuple[Tensor, Tensor]:
        """Return float32 `[batch]` rewards of the generator's best items, and the discriminators' loss or 0.

        The real sequence is the history with the target of its last position. Nothing here moves the generator.
        """
        real = batch.targets[segments.last, None]  # (batch, 1)
        with torch.no_grad():
            scores = x[segments.last].float() @ self.items().T
            best = scores.topk(min(self.config.fakes + 1, self.n_items)).indices  # one more, should it be the real one
        invented = best != real
        invented &= invented.cumsum(1) <= self.config.fakes
        candidates = torch.cat([real, best], dim=1)
        reward, loss = torch.zeros(len(batch), device=x.device), torch.zeros((), device=x.device)
        with torch.set_grad_enabled(learn and torch.is_grad_enabled()):
            for discriminator, value in zip(self.discriminators, (None, self.decile), strict=True):
                history, last = (items if value is None else value[items] for items in (batch.items, candidates))
                assert isinstance(discriminator, Discriminator)
                verdict = discriminator(history, segments, last, generator)
                reward += verdict[:, 1].detach().sigmoid() / len(self.discriminators)
                loss = loss + weighed_by(len(batch), F.softplus(-verdict[:, 0]).mean())
                loss = loss + weighed_by(invented.sum(), F.softplus(verdict[:, 1:])[invented].mean())
                weights = discriminator.get_submodule("verdict").parameters()
                loss = loss + DISCRIMINATOR_DECAY / 2 * sum(weight.square().sum() for weight in weights)
        return reward, loss if learn else torch.zeros_like(loss)


FAMILY = Family("mfgan", MFGANConfig, MFGAN)
