"""The usual way to run `diffurec`: histories padded to one length, torch.nn.TransformerEncoder; to compare with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffurecsys.data.packing import PackedBatch
from diffurecsys.diffusion import GaussianDiffusion, sample_ddpm
from diffurecsys.layers.step_embedding import StepEmbedding
from diffurecsys.models.families.diffurec import DiffuRecConfig


class PaddedDiffuRec(nn.Module):
    """The same mathematics as `diffurec`, with a padding item and a padding mask."""

    def __init__(self, n_items: int, config: DiffuRecConfig, length: int) -> None:
        super().__init__()
        self.config, self.length = config, length
        self.items = nn.Embedding(n_items + 1, config.width, padding_idx=0)
        nn.init.normal_(self.items.weight, std=config.embedding_std)
        layer = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            4 * config.width,
            config.dropout,
            activation=nn.GELU(approximate="tanh"),
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(
            layer, config.blocks, nn.LayerNorm(config.width), enable_nested_tensor=False
        )
        self.norm, self.item_dropout = nn.LayerNorm(config.width), nn.Dropout(config.item_dropout)
        self.step_embedding = StepEmbedding(config.width, config.diffusion_steps)
        self.process = GaussianDiffusion(config.betas)

    def pad(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Left-pad the histories; items are numbered from 1."""
        lengths = torch.tensor(batch.lengths, device=batch.items.device)
        padded = torch.zeros(len(batch), self.length, dtype=torch.int64, device=batch.items.device)
        row = torch.repeat_interleave(torch.arange(len(batch), device=lengths.device), lengths)
        padded[row, torch.arange(len(row), device=row.device) - batch.offsets[1:].long()[row]] = batch.items + 1
        return padded, batch.targets + 1

    def loss(self, items: Tensor, targets: Tensor) -> Tensor:
        """Return the training loss of `[batch, length]` padded items."""
        x_0 = self.items(targets)
        step = torch.randint(len(self.process), (len(items),), device=items.device)
        noised = self.process.diffuse(x_0, step, torch.randn_like(x_0)) + self.step_embedding(step)
        return F.cross_entropy(self._denoise(self._history(items), noised, items == 0) @ self.items.weight.T, targets)

    def score(self, items: Tensor, reverse_steps: int) -> Tensor:
        """Score the catalogue for `[batch, length]` padded items."""
        history, empty = self._history(items), items == 0

        def noise() -> Tensor:
            return torch.randn_like(history[:, 0])

        def denoise(x_s: Tensor, step: int) -> Tensor:
            steps = torch.full((1,), step, device=items.device)
            return self._denoise(history, x_s + self.step_embedding(steps), empty)

        return sample_ddpm(self.process.strided(reverse_steps), denoise, noise(), noise) @ self.items.weight.T

    def _history(self, items: Tensor) -> Tensor:
        history: Tensor = self.norm(self.item_dropout(self.items(items)))
        return history

    def _denoise(self, history: Tensor, noised: Tensor, empty: Tensor) -> Tensor:
        weight = torch.randn_like(history).add_(1).mul_(self.config.delta)
        encoded: Tensor = self.encoder(history + weight * noised[:, None], src_key_padding_mask=empty)
        return encoded[:, -1]
