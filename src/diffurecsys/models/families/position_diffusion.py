"""Diffusion at every position: a causal encoder reads the history once, a small head without attention denoises.

This project's own test of whether diffusion can help a recommender: trained over whole sequences, every asked position
has a step and noise of its own, and 32 reverse steps cost 32 calls of the head instead of 32 Transformers. With `delta`
0 the head sees what the encoder says and nothing else: the control with the same parameters and training. Taken over:
diffused target embeddings, cross-entropy (DiffuRec, Li et al., TOIS 2023); one scale of targets, expected embeddings
(Dieleman et al., "Continuous diffusion for categorical data", 2022); scaled input (Karras et al., "Elucidating the
Design Space of Diffusion-Based Generative Models", NeurIPS 2022).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from diffurecsys.checks import at_least, one_of, positive, within
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.diffusion import GaussianDiffusion, to_scale, with_least_noise
from diffurecsys.layers.adaptive_head import AdaptiveHead
from diffurecsys.layers.encoder import Encoder, Positions
from diffurecsys.layers.initialisation import draw_linear
from diffurecsys.layers.item_table import item_table
from diffurecsys.layers.segments import Segments
from diffurecsys.layers.similarity import Similarity, asked_vectors, offered_vectors
from diffurecsys.layers.step_embedding import StepEmbedding
from diffurecsys.losses.cross_entropy import blocked_cross_entropy
from diffurecsys.losses.marginal import marginal_cross_entropy
from diffurecsys.models.base import Capabilities, Family, Purpose, VectorRanker
from diffurecsys.models.reverse import ReverseConfig, walk_back

Rounding = Literal["none", "expected"]


@dataclass(frozen=True)
class PositionDiffusionConfig(ReverseConfig):
    """Encoder, head and diffusion; the head sees δ · (x_s + d_s), and `delta` 0 is the control.

    Attributes:
        width: embedding and hidden size d.
        blocks: Transformer blocks of the encoder.
        heads: attention heads; divides `width`.
        inner: hidden units of all feed-forwards, in multiples of `width`.
        head_blocks: layers of the head.
        dropout: on embeddings, inside the blocks and the head.
        max_length: longest history; at least `preprocessing.max_length`.
        positions: of the encoder, see `Encoder`.
        embedding_std: standard deviation of the initial item embeddings.
        similarity: scores are inner products (`dot`) or cosines divided by `temperature`.
        temperature: of `cosine`.
        least_noise: noise variance that even the first step exceeds, in [0, 1).
        input_scaled: the head sees √ᾱ_s x_s, the best linear guess of a target of unit size, in place of x_s: where
            there is nothing but noise it sees nothing.
        noise_power: a step is drawn in training in proportion to (1 - ᾱ_s)^power; 0 draws uniformly.
        marginal_samples: M; the loss is -log of the target's mean probability over M draws of noise at one step.
        rounding: x̂_0 on the way back is what the head says (`none`) or the embedding that it expects, the mean over the
            catalogue under its softmax (`expected`; costs a product with the catalogue each step).
    """

    width: int = 64
    blocks: int = 2
    heads: int = 2
    inner: int = 4
    head_blocks: int = 2
    dropout: float = 0.3
    max_length: int = 50
    positions: Positions = "relative"
    embedding_std: float = 0.02
    similarity: Similarity = "cosine"
    temperature: float = 0.06
    least_noise: float = 0.0
    input_scaled: bool = False
    noise_power: float = 0.0
    marginal_samples: int = 1
    rounding: Rounding = "none"

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        super().__post_init__()
        at_least(self, 1, "width", "blocks", "heads", "inner", "head_blocks", "max_length", "marginal_samples")
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width must be even and a multiple of heads, got width {self.width}, heads {self.heads}")
        within(self, 0, 1, "dropout", "least_noise")
        positive(self, "embedding_std", "temperature")
        at_least(self, 0, "noise_power")
        one_of(self, get_args(Positions), "positions")
        one_of(self, get_args(Similarity), "similarity")
        one_of(self, get_args(Rounding), "rounding")

    @property
    def capabilities(self) -> Capabilities:
        """Attention is causal, so every position may be asked; without noised target there is nothing to reverse."""
        steps = self.diffusion_steps if self.delta > 0 else 0
        return Capabilities(schemes=("window", "prefix"), vectors=True, samples=steps > 0, steps=steps)

    @property
    def betas(self) -> Tensor:
        """The schedule with no less noise than `least_noise`, float64 `[T]`."""
        return with_least_noise(super().betas, self.least_noise)

    def steps_for(self, purpose: Purpose) -> int | None:
        """Reverse steps as configured; for serving, where nothing is, one: more were behind it, and cost more.

        Chosen on validation from `docs/results/reverse_steps_position_diffusion.json` (MovieLens-100K, three trained
        models); what walks by expected embeddings was not measured and walks all.
        """
        if purpose == "serving" and self.serving_steps is None and self.rounding == "none":
            return 1
        return super().steps_for(purpose)


class PositionDiffusion(VectorRanker):
    """Item embeddings, a causal encoder, a head that denoises, and scores against the embeddings."""

    config: PositionDiffusionConfig
    step_weight: Tensor

    def __init__(self, config: PositionDiffusionConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        width, inner = config.width, config.inner * config.width
        self.embedding = item_table(n_items, width)
        self.encoder = Encoder(
            width=width,
            blocks=config.blocks,
            heads=config.heads,
            inner=inner,
            dropout=config.dropout,
            causal=True,
            positions=config.positions,
            max_length=config.max_length,
        )
        self.head = AdaptiveHead(width=width, blocks=config.head_blocks, inner=inner, dropout=config.dropout)
        self.step_embedding = StepEmbedding(width, config.diffusion_steps)
        self.process = GaussianDiffusion(config.betas)
        step_weight = (1 - self.process.alpha_bar).pow(config.noise_power).float()
        self.register_buffer("step_weight", step_weight, persistent=False)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator` (on the host): encoder, head, steps, and N(0, `embedding_std`) items."""
        self.encoder.initialise(generator)
        self.head.initialise(generator)
        draw_linear(self.step_embedding, generator)
        nn.init.normal_(self.embedding.weight, std=self.config.embedding_std, generator=generator)

    def observe(self, data: StudyData) -> None:
        """Check that histories are not too long."""
        self.encoder.refuse_longer(data.split.max_length)

    def loss(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Cross-entropy of each asked position's target over the whole catalogue, at a step of its own."""
        condition = self._encode(batch, generator, last_only=not batch.everywhere)
        prepared, noised, draws = self.head.prepare(condition), None, 1
        if self.config.delta > 0:
            draws = self.config.marginal_samples
            # noises of one step: among several, the least noisy would decide the mean
            step = torch.multinomial(self.step_weight, len(condition), replacement=True, generator=generator)
            x_0 = to_scale(self.embedding(batch.targets), self.config.target_scale).repeat(draws, 1)
            step, noise = step.repeat(draws), torch.randn(x_0.shape, generator=generator, device=x_0.device)
            noised = self._noised(self.process.diffuse(x_0, step, noise), step, self.step_embedding(step))
            condition, prepared = condition.repeat(draws, 1), [part.repeat(draws, 1) for part in prepared]
        x = self._compared(self.head(condition, noised, prepared, generator))
        if draws == 1:
            return blocked_cross_entropy(x, self.items(), batch.targets)
        return marginal_cross_entropy(x.unflatten(0, (draws, -1)), self.items(), batch.targets)

    def users(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Say what follows by the reverse process, float32 `[batch, width]`: the head's last word.

        Args:
            batch: the histories, each encoded once.
            generator: for the reverse process.
            steps: how many of the T steps to walk; None is all of them.
        """
        condition = self._encode(batch, generator, last_only=True)
        prepared = self.head.prepare(condition)
        if self.config.delta == 0:
            return self._compared(self.head(condition, None, prepared, generator)).float()
        process, said = self.process.strided(steps or len(self.process)), condition
        told = dict(zip(process.told, zip(process.steps, self.step_embedding(process.steps), strict=True), strict=True))

        def noise() -> Tensor:
            return torch.randn(condition.shape, generator=generator, device=condition.device)

        def denoise(x_s: Tensor, step: int) -> Tensor:
            nonlocal said
            noised = self._noised(x_s, *told[step])
            said = self.head(condition, noised, prepared, generator).float()
            if self.config.rounding == "expected":
                return self._expected(said)
            return to_scale(said, self.config.target_scale)

        walk_back(self.config.sampler, process, denoise, noise)
        return self._compared(said)

    def skip(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> None:
        """Draw what the reverse process would, without encoder and head."""
        shape, device = (len(batch), self.config.width), batch.items.device

        def noise() -> Tensor:
            return torch.randn(shape, generator=generator, device=device)

        if self.config.delta > 0:
            process = self.process.strided(steps or len(self.process))
            walk_back(self.config.sampler, process, lambda x_s, step: x_s, noise)

    def items(self) -> Tensor:
        """Represent every item: the embeddings, of unit length if cosines are compared; `[n_items, width]`."""
        return offered_vectors(self.embedding.weight, self.config.similarity)

    def _encode(self, batch: PackedBatch, generator: torch.Generator, *, last_only: bool) -> Tensor:
        x = self.embedding(batch.items) * math.sqrt(self.config.width)
        return cast(Tensor, self.encoder(x, Segments.of(batch), generator, last_only=last_only))

    def _noised(self, x_s: Tensor, step: Tensor, embedded: Tensor) -> Tensor:
        """δ · (x_s + d_s), the former as the head is to see it; of one step or of one a row, `embedded` as d_s."""
        seen = self.process.signal[step, None] * x_s if self.config.input_scaled else x_s
        return self.config.delta * (seen + embedded)

    def _expected(self, said: Tensor) -> Tensor:
        """Return the mean embedding under the softmax of the scores, `[batch, width]`."""
        with torch.autocast(said.device.type, enabled=False):
            weight = (self._compared(said) @ self.items().T).softmax(dim=1)
            return weight @ to_scale(self.embedding.weight, self.config.target_scale)

    def _compared(self, x: Tensor) -> Tensor:
        return asked_vectors(x, self.config.similarity, self.config.temperature)


FAMILY = Family("position_diffusion", PositionDiffusionConfig, PositionDiffusion)
