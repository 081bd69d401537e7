"""The paper's three models: a Transformer that rebuilds the target's embedding from noise, given the history.

Sources: Li, Sun, Li, "DiffuRec: A Diffusion Model for Sequential Recommendation", ACM TOIS 42 (2023): `conditioning:
add` without offset noise, the paper's baseline. Zolghadr, Winther, Jeha, "Generative Diffusion Models for Sequential
Recommendations", ROEGEN@RecSys'24: `conditioning: cross` is its Modified Version 1, with offset noise Version 2. As
published they know no order: a history is a bag of items plus the last one. And noise has variance 1, while embeddings
begin at a fiftieth of that: the network hardly sees the target. `positions` and `target_scale` are this project's
remedies for both. How the network differs from the published code: `diffurecsys.layers.denoisers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from diffurecsys.checks import at_least, one_of, positive, within
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.diffusion import GaussianDiffusion, TargetScale, to_scale
from diffurecsys.diffusion.gaussian import ReverseVariance
from diffurecsys.layers.denoisers import Denoiser
from diffurecsys.layers.dropout import Dropout
from diffurecsys.layers.encoder import NORM_EPS, POSITION_STD, refuse_longer
from diffurecsys.layers.initialisation import draw_linear
from diffurecsys.layers.item_table import item_table
from diffurecsys.layers.segments import Segments
from diffurecsys.layers.step_embedding import StepEmbedding
from diffurecsys.losses.cross_entropy import catalogue_cross_entropy
from diffurecsys.losses.sampled import NegativeSampler, sampled_cross_entropy
from diffurecsys.models.base import Capabilities, Family, Purpose, VectorRanker
from diffurecsys.models.reverse import ReverseConfig, walk_back


@dataclass(frozen=True)
class DiffuRecConfig(ReverseConfig):
    """Size, regularisation and diffusion settings (defaults: the paper's); λ ~ N(delta, delta), `raw` is the paper's.

    Attributes:
        width: embedding and hidden size d.
        blocks: stacked Transformer blocks.
        heads: attention heads; divides `width`.
        dropout: inside the blocks and after the last one.
        item_dropout: on the history's item embeddings.
        embedding_std: standard deviation of the initial item embeddings. N(0, 1), the published code's choice, gives
            logits of size sqrt(d) before anything is learnt and needs tens of epochs to unlearn them.
        positions: `none` (the paper's), `absolute` (a learnt vector for each place counted back from the end) or
            `relative` (a learnt number for each head and signed distance in the self-attention).
        max_length: longest history that positions are made for; at least `preprocessing.max_length`.
        conditioning: how the noised target enters, `add` (Eq. 15) or `cross`-attention (Eq. 16).
        offset_noise: draw training noise as in Eq. 17.
        offset: δ_c of the offset noise N(0.1 δ_c, I), Eq. 17.
        offset_per_sample: draw the offset once per example from N(0, (0.1 δ_c)²) instead of keeping it constant.
        reverse_variance: of `ddpm`, `posterior` (β̃, the paper's Eq. 22) or `beta` (the published code).
        negatives: compare each target with this many sampled items, the same for the whole batch, in place of the whole
            catalogue (the paper's loss): for catalogues of hundreds of thousands of items. None is the catalogue.
        negatives_power: they are drawn in proportion to training popularity to this power, and the loss corrects for
            it; 0 draws uniformly.
    """

    width: int = 128
    blocks: int = 4
    heads: int = 4
    dropout: float = 0.1
    item_dropout: float = 0.3
    embedding_std: float = 0.02
    positions: Literal["none", "absolute", "relative"] = "none"
    max_length: int = 200
    conditioning: Literal["add", "cross"] = "add"
    offset_noise: bool = False
    target_scale: TargetScale = "raw"
    delta: float = 0.001
    offset: float = 1.0
    offset_per_sample: bool = False
    reverse_variance: ReverseVariance = "posterior"
    negatives: int | None = None
    negatives_power: float = 0.75

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        super().__post_init__()
        at_least(self, 1, "width", "blocks", "heads", "negatives", "max_length")
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width must be even and a multiple of heads, got width {self.width}, heads {self.heads}")
        within(self, 0, 1, "dropout", "item_dropout")
        positive(self, "embedding_std")
        at_least(self, 0, "negatives_power")
        within(self, float("-inf"), float("inf"), "offset")
        one_of(self, ("none", "absolute", "relative"), "positions")
        one_of(self, ("add", "cross"), "conditioning")
        one_of(self, get_args(ReverseVariance), "reverse_variance")

    @property
    def capabilities(self) -> Capabilities:
        """Without noised target nothing is drawn and there is nothing to reverse."""
        noised = self.delta > 0
        steps = self.diffusion_steps if noised else 0
        return Capabilities(vectors=True, samples=noised, steps=steps, from_last_item=noised)

    def steps_for(self, purpose: Purpose) -> int | None:
        """Reverse steps as configured; for serving, where nothing is, by δ.

        With a small δ the first prediction is the last. Chosen from `docs/results/reverse_steps.json` (Amazon Beauty,
        two or three trained models, intervals over users): up to δ = 0.01 one step is within 0.9 % of the NDCG@10 of
        32, at δ = 0.1 one step is 3 % behind and eight steps are within 2 %.
        """
        if purpose != "serving" or self.serving_steps is not None:
            return super().steps_for(purpose)
        return 1 if self.delta <= 0.01 else min(8, self.diffusion_steps)


class DiffuRec(VectorRanker):
    """A denoiser trained to rebuild the target's embedding, with rounding to the catalogue by inner product."""

    config: DiffuRecConfig

    def __init__(self, config: DiffuRecConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        self.denoiser = Denoiser(
            width=config.width,
            blocks=config.blocks,
            heads=config.heads,
            dropout=config.dropout,
            cross=config.conditioning == "cross",
            distances=config.max_length if config.positions == "relative" else 0,
        )
        self.embedding = item_table(n_items, config.width)
        self.position = nn.Embedding(config.max_length, config.width) if config.positions == "absolute" else None
        self.history_norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.item_dropout = Dropout(config.item_dropout)
        self.step_embedding = StepEmbedding(config.width, config.diffusion_steps)
        self.process = GaussianDiffusion(config.betas, reverse_variance=config.reverse_variance)
        self.sampler = NegativeSampler(n_items, config.negatives) if config.negatives is not None else None

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator` (on the host): Xavier for matrices, N(0, `embedding_std`) for items."""
        draw_linear(self, generator)
        nn.init.normal_(self.embedding.weight, std=self.config.embedding_std, generator=generator)
        if self.position is not None:
            nn.init.normal_(self.position.weight, std=POSITION_STD, generator=generator)

    def observe(self, data: StudyData) -> None:
        """Check that histories are not too long for positions; count items for sampled negatives."""
        if self.config.positions != "none":
            refuse_longer(data.split.max_length, self.config.max_length)
        if self.sampler is not None:
            self.sampler.observe(data.popularity, self.config.negatives_power)

    def loss(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Cross-entropy of the target over the whole catalogue at one uniformly drawn step (Eq. 25)."""
        segments = Segments.of(batch)
        history = self.embed_history(batch.items, generator, segments)
        x_0 = to_scale(self.embedding(batch.targets), self.config.target_scale)
        step = torch.randint(len(self.process), (len(batch),), generator=generator, device=x_0.device)
        x_s = self.process.diffuse(x_0, step, self._training_noise(x_0, generator))
        noised = self._noised_target(x_s, step, segments, generator)
        predicted = self.denoiser(history, noised, segments, generator)
        if self.sampler is None:
            return catalogue_cross_entropy(predicted, self.embedding.weight, batch.targets)
        drawn = self.sampler.draw(generator)
        return sampled_cross_entropy(
            predicted, self.embedding.weight, batch.targets, drawn, self.sampler.log_expected.index_select(0, drawn)
        )

    def items(self) -> Tensor:
        """Return the item embeddings, `[n_items, width]`."""
        return self.embedding.weight

    def users(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Reconstruct the target's representation x_0, float32 `[batch, width]`, by the reverse process (Eq. 24-26).

        Args:
            batch: the histories.
            generator: for the reverse process and λ.
            steps: how many of the T steps to walk; None is all of them.
        """
        process = self.process.strided(steps or len(self.process))
        segments = Segments.of(batch)
        history = said = self.embed_history(batch.items, generator, segments)
        if self.config.delta == 0:  # every step predicts the same, and the last prediction is the result
            alone: Tensor = self.denoiser(history, None, segments, generator)
            return alone.float()
        shape, device = (len(batch), self.config.width), history.device
        prepared = self.denoiser.prepare(history)

        def noise() -> Tensor:
            return torch.randn(shape, generator=generator, device=device)

        def denoise(x_s: Tensor, step: int) -> Tensor:
            nonlocal said
            steps = torch.full((1,), step, device=device)
            noised = self._noised_target(x_s, steps, segments, generator)
            said = self.denoiser(history, noised, segments, generator, prepared=prepared).float()
            return to_scale(said, self.config.target_scale)

        x_0 = walk_back(self.config.sampler, process, denoise, noise)
        return x_0 if self.config.target_scale == "raw" else said  # the last x̂_0, at the scale that scores are made of

    def skip(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> None:
        """Draw what the reverse process would, without the denoiser."""
        if self.config.delta == 0:
            return
        shape, tokens = (len(batch), self.config.width), (len(batch.items), self.config.width)
        device = batch.items.device

        def noise() -> Tensor:
            return torch.randn(shape, generator=generator, device=device)

        def denoise(x_s: Tensor, step: int) -> Tensor:
            torch.randn(tokens, generator=generator, device=device)  # λ, as in `_noised_target`
            return x_s

        walk_back(self.config.sampler, self.process.strided(steps or len(self.process)), denoise, noise)

    def users_from_last_item(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Predict x_0 by one call from the history's last item, diffused to the last step: float32 `[batch, width]`.

        One sampling seed of the paper's Algorithm 3 as printed: x_T ~ q(x_T | e_n), x̂_0 = f(x_T, T).
        """
        segments = Segments.of(batch)
        history = self.embed_history(batch.items, generator, segments)
        last_item = to_scale(self.embedding(batch.items[segments.last]), self.config.target_scale)
        last_step = torch.full((1,), len(self.process) - 1, device=history.device)
        noise = torch.randn(last_item.shape, generator=generator, device=history.device)
        x_s = self.process.diffuse(last_item, last_step, noise)
        noised = self._noised_target(x_s, last_step, segments, generator)
        predicted: Tensor = self.denoiser(history, noised, segments, generator)
        return predicted.float()

    def embed_history(
        self, items: Tensor, generator: torch.Generator | None, segments: Segments | None = None
    ) -> Tensor:
        """Represent int64 `[tokens]` items as the history sees them, `[tokens, width]`; positions need `segments`."""
        x = self.embedding(items)
        if segments is not None and self.config.positions != "none":
            refuse_longer(segments.lengths[-1], self.config.max_length)
        if segments is not None and self.position is not None:
            following = segments.last.index_select(0, segments.sequence) - torch.arange(len(items), device=items.device)
            x = x + self.position(following)
        embedded: Tensor = self.history_norm(self.item_dropout(x, generator))
        return embedded

    def _training_noise(self, x_0: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(x_0.shape, generator=generator, device=x_0.device)
        if not self.config.offset_noise:
            return noise
        offset = 0.1 * self.config.offset  # Eq. 17
        if self.config.offset_per_sample:
            return noise + offset * torch.randn((len(x_0), 1), generator=generator, device=x_0.device)
        return noise + offset

    def _noised_target(
        self, x_s: Tensor, step: Tensor, segments: Segments, generator: torch.Generator
    ) -> Tensor | None:
        delta = self.config.delta
        if delta == 0:
            return None
        target = x_s + self.step_embedding(step)  # (batch, width)
        weight = torch.randn((sum(segments.lengths), x_s.shape[-1]), generator=generator, device=x_s.device)
        return scale_noised_target(weight.add_(1).mul_(delta), target, segments)  # λ ~ N(δ, δ)


def scale_noised_target(weight: Tensor, target: Tensor, segments: Segments) -> Tensor:
    """λ ⊙ (x_s + d_s) at every history position.

    Args:
        weight: `[tokens, width]`, λ.
        target: `[batch, width]`, x_s + d_s.
        segments: the borders between histories.
    """
    return weight * target.index_select(0, segments.sequence)


FAMILY = Family("diffurec", DiffuRecConfig, DiffuRec)
