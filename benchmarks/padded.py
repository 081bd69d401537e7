"""The usual way to run `diffurec`: histories padded to one length, torch.nn.TransformerEncoder; to compare with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffurecsys.data.packing import PackedBatch
from diffurecsys.diffusion import GaussianDiffusion, make_betas
from diffurecsys.models import ModelConfig
from diffurecsys.models.layers import StepEmbedding


class PaddedDiffuRec(nn.Module):
    """The same mathematics as `diffurec`, with a padding item and a padding mask."""

    def __init__(self, n_items: int, config: ModelConfig, length: int) -> None:
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
        self.process = GaussianDiffusion(make_betas(config.schedule, config.diffusion_steps))

    def pad(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Left-pad the histories; items are numbered from 1."""
        lengths = torch.tensor(batch.lengths, device=batch.items.device)
        padded = torch.zeros(len(batch), self.length, dtype=torch.int64, device=batch.items.device)
        row = torch.repeat_interleave(torch.arange(len(batch), device=lengths.device), lengths)
        padded[row, torch.arange(len(row), device=row.device) - batch.offsets[1:].long()[row]] = batch.items + 1
        return padded, batch.targets + 1

    def loss(self, items: Tensor, targets: Tensor) -> Tensor:
        """Return the training loss of `[batch, length]` padded items."""
        delta = self.config.delta
        history = self.norm(self.item_dropout(self.items(items)))
        x_0 = self.items(targets)
        step = torch.randint(len(self.process), (len(items),), device=items.device)
        noised = self.process.diffuse(x_0, step, torch.randn_like(x_0)) + self.step_embedding(step)
        weight = torch.randn_like(history).add_(1).mul_(delta)
        encoded = self.encoder(history + weight * noised[:, None], src_key_padding_mask=items == 0)
        return F.cross_entropy(encoded[:, -1] @ self.items.weight.T, targets)
