"""What the diffusion recommenders share: item embeddings, the training loss and the reverse process."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffurecsys.data.packing import PackedBatch
from diffurecsys.diffusion import GaussianDiffusion, make_betas, sample_ddim, sample_ddpm
from diffurecsys.models.config import ModelConfig
from diffurecsys.models.cross_entropy import catalogue_cross_entropy
from diffurecsys.models.denoiser import Denoiser
from diffurecsys.models.dropout import Dropout
from diffurecsys.models.layers import NORM_EPS, StepEmbedding
from diffurecsys.models.sampled_softmax import NegativeSampler, sampled_cross_entropy
from diffurecsys.models.segments import Segments
from diffurecsys.models.top_items import TopItems, top_items


class DiffusionRecommender(nn.Module):
    """A denoiser trained to rebuild the target's embedding, with rounding to the catalogue by inner product.

    Args:
        denoiser: f_θ.
        n_items: size of the catalogue.
        config: sizes and diffusion settings.
        offset_noise: draw training noise as in Eq. 17.
    """

    def __init__(self, denoiser: Denoiser, n_items: int, config: ModelConfig, *, offset_noise: bool) -> None:
        super().__init__()
        self.config = config
        self.offset_noise = offset_noise
        self.denoiser = denoiser
        self.items = nn.Embedding(n_items, config.width)
        self.history_norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.item_dropout = Dropout(config.item_dropout)
        self.step_embedding = StepEmbedding(config.width, config.diffusion_steps)
        betas = make_betas(config.schedule, config.diffusion_steps)
        self.process = GaussianDiffusion(betas, reverse_variance=config.reverse_variance)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator` (on the host): Xavier for matrices, N(0, `embedding_std`) for items."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.items.weight, std=self.config.embedding_std, generator=generator)

    def loss(self, batch: PackedBatch, generator: torch.Generator, negatives: NegativeSampler | None = None) -> Tensor:
        """Cross-entropy of the target over the whole catalogue at one uniformly drawn step (Eq. 25).

        Args:
            batch: histories and targets.
            generator: for steps, noise, dropout and negatives.
            negatives: compare with these samples in place of the whole catalogue.
        """
        segments = Segments.of(batch)
        history = self.embed_history(batch.items, generator)
        x_0 = self.items(batch.targets)
        step = torch.randint(len(self.process), (len(batch),), generator=generator, device=x_0.device)
        x_s = self.process.diffuse(x_0, step, self._training_noise(x_0, generator))
        noised = self._noised_target(x_s, step, segments, generator)
        predicted = self.denoiser(history, noised, segments, generator)
        if negatives is None:
            return catalogue_cross_entropy(predicted, self.items.weight, batch.targets)
        drawn = negatives.draw(generator)
        return sampled_cross_entropy(
            predicted, self.items.weight, batch.targets, drawn, negatives.log_expected.index_select(0, drawn)
        )

    def score(self, batch: PackedBatch, generator: torch.Generator, reverse_steps: int | None = None) -> Tensor:
        """Score the whole catalogue for every history (Eq. 24-26).

        Args:
            batch: the histories.
            generator: for the reverse process and λ.
            reverse_steps: how many of the T steps to walk; None is all of them.

        Returns:
            float32 `[batch, n_items]`, higher is better.
        """
        predicted = self.predict(batch, generator, reverse_steps)
        with torch.autocast(predicted.device.type, enabled=False):
            return predicted @ self.items.weight.float().T

    def recommend(
        self,
        batch: PackedBatch,
        generator: torch.Generator,
        k: int,
        *,
        reverse_steps: int | None = None,
        exclude_history: bool = False,
    ) -> TopItems:
        """Find the k best items for every history, without scores of the whole catalogue at once.

        Args:
            batch: the histories.
            generator: for the reverse process and λ.
            k: how many items; at most the catalogue.
            reverse_steps: how many of the T steps to walk; None is all of them.
            exclude_history: recommend no item of the history itself.
        """
        predicted = self.predict(batch, generator, reverse_steps)
        excluded = (Segments.of(batch).sequence, batch.items) if exclude_history else None
        with torch.autocast(predicted.device.type, enabled=False):
            return top_items(predicted, self.items.weight.float(), k, excluded)

    def predict(self, batch: PackedBatch, generator: torch.Generator, reverse_steps: int | None = None) -> Tensor:
        """Reconstruct the target's representation x_0, float32 `[batch, width]`, by the reverse process."""
        process = self.process.strided(reverse_steps or len(self.process))
        segments = Segments.of(batch)
        history = self.embed_history(batch.items, generator)
        if self.config.delta == 0:  # every step predicts the same, and the last prediction is the result
            alone: Tensor = self.denoiser(history, None, segments, generator)
            return alone.float()
        shape, device = (len(batch), self.config.width), history.device
        prepared = self.denoiser.prepare(history)

        def noise() -> Tensor:
            return torch.randn(shape, generator=generator, device=device)

        def denoise(x_s: Tensor, step: int) -> Tensor:
            steps = torch.full((1,), step, device=device)
            noised = self._noised_target(x_s, steps, segments, generator)
            predicted: Tensor = self.denoiser(history, noised, segments, generator, prepared=prepared)
            return predicted.float()

        if self.config.sampler == "ddim":
            return sample_ddim(process, denoise, noise())
        return sample_ddpm(process, denoise, noise(), noise)

    def embed_history(self, items: Tensor, generator: torch.Generator | None) -> Tensor:
        """Represent int64 `[tokens]` items as the history sees them, `[tokens, width]`."""
        embedded: Tensor = self.history_norm(self.item_dropout(self.items(items), generator))
        return embedded

    def _training_noise(self, x_0: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(x_0.shape, generator=generator, device=x_0.device)
        if not self.offset_noise:
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
