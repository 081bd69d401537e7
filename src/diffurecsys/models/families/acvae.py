"""A recurrent adversarial autoencoder: implicit latents, a learnt density ratio, and a contrast with other sequences.

Source: Xie, Liu, Zhang, Lu, Wang, Ding, "Adversarial and Contrastive Variational Autoencoder for Sequential
Recommendation" (ACVAE, WWW 2021). Latents come from a GRU and a causal convolution with noise inside, so that their
density is unknown: a network T, which tells them from N(0, I), stands in for the divergence (adversarial variational
Bayes). A network D tells a sequence with its own latents from one with another's. Deviations from the released code:
one optimiser instead of three (T's parameters are held still in the encoder's part of the loss, T's inputs in its own);
means over positions instead of sums, which let long sequences decide the step; scores with a noise from the given
generator, a mean of several, or none; and leave-one-out instead of a validation set that was the test set.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from diffurecsys.checks import at_least, within
from diffurecsys.data.packing import PackedBatch
from diffurecsys.layers.dropout import Dropout
from diffurecsys.layers.item_table import item_table
from diffurecsys.layers.next_sequence import of_next_sequence
from diffurecsys.layers.recurrent import run_gru, shift
from diffurecsys.layers.segments import Segments
from diffurecsys.losses.cross_entropy import catalogue_cross_entropy
from diffurecsys.models.base import Capabilities, Family, RankerConfig, VectorRanker

KERNEL = 5  # of the convolution: a position and four before it
RATIO_DROPOUT = 0.2


@dataclass(frozen=True)
class ACVAEConfig(RankerConfig):
    """Size, regularisation and weights (defaults: the released code's, for ML-1M).

    Attributes:
        width: of item embeddings, of T, of D and of what scores items.
        hidden: of the GRU and of the noise.
        latent: size of a latent.
        dropout: on embeddings and before latents.
        divergence: weight of T in the encoder's loss.
        contrast: weight of D.
        scoring_draws: scores are a mean over so many draws of the noise; 0: the noise is left out.
    """

    width: int = 128
    hidden: int = 100
    latent: int = 64
    dropout: float = 0.5
    divergence: float = 0.05
    contrast: float = 0.1
    scoring_draws: int = 1

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least(self, 1, "width", "hidden", "latent")
        at_least(self, 0, "divergence", "contrast", "scoring_draws")
        within(self, 0, 1, "dropout")

    @property
    def capabilities(self) -> Capabilities:
        """Only earlier items are read; every position is asked. Noise makes scores samples."""
        return Capabilities(schemes=("window",), vectors=True, samples=self.scoring_draws > 0)


class DensityRatio(nn.Module):
    """T(x, z) `[tokens, latent]`: logarithm of how much likelier z is for x than under N(0, I), for each dimension."""

    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(width + latent, width), nn.Linear(width, latent)
        self.down = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.up = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.dropout = Dropout(RATIO_DROPOUT)

    def forward(self, x: Tensor, z: Tensor, generator: torch.Generator) -> Tensor:
        """Compare `[tokens, width]` items and `[tokens, latent]` latents."""
        v = self.dropout(self.first(torch.cat([x, z], dim=1)), generator)
        for down, up in zip(self.down, self.up, strict=True):
            v = F.elu(v + up(down(v)))
        ratio: Tensor = self.dropout(self.last(v), generator) + z.square() / 2
        return ratio


class ACVAE(VectorRanker):
    """Item embeddings, an encoder with noise inside, an output matrix with biases, T and D."""

    config: ACVAEConfig

    def __init__(self, config: ACVAEConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        width, hidden = config.width, config.hidden
        self.embedding = item_table(n_items, width)
        self.gru = nn.GRU(width, hidden)
        self.noise = nn.Linear(hidden, hidden)
        self.before = nn.Linear(hidden, hidden)
        self.convolution = nn.Linear(KERNEL * hidden, 2 * hidden)  # of a token beside those before it
        self.after = nn.Linear(2 * hidden, hidden)
        self.to_latent = nn.Linear(hidden, config.latent)
        self.decoder = nn.Linear(config.latent, width)
        self.output = nn.Linear(width, n_items)
        self.dropout = Dropout(config.dropout)
        self.ratio = DensityRatio(width, config.latent)
        self.critic = nn.GRU(width + config.latent, width)
        self.verdict = nn.Linear(width, 1)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator` (on the host): Xavier for matrices, each gate's by itself."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.xavier_uniform_(module.weight, generator=generator)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.GRU):
                for name, weight in module.named_parameters():
                    for gate in weight.chunk(3):
                        nn.init.zeros_(gate) if "bias" in name else nn.init.xavier_uniform_(gate, generator=generator)

    def loss(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Return the sum of the encoder's, T's and D's losses, each a mean over all positions."""
        config, segments = self.config, Segments.of(batch)
        x = self.embedding(batch.items)
        z = self._latents(x, segments, generator, noisy=True)
        loss = catalogue_cross_entropy(self._decode(z), self.items(), batch.targets)
        with torch.autocast(x.device.type, enabled=False):
            held = {name: parameter.detach() for name, parameter in self.ratio.named_parameters()}
            ratio: Tensor = functional_call(self.ratio, held, (x, z, generator))
            loss = loss + config.divergence * ratio.mean()
            prior = torch.randn(z.shape, generator=generator, device=z.device)
            own = F.softplus(-self.ratio(x.detach(), z.detach(), generator)).mean()
            loss = loss + own + F.softplus(self.ratio(x.detach(), prior, generator)).mean()
            right = self._criticise(x, z, segments)
            wrong = self._criticise(x, of_next_sequence(z, segments), segments)
            total: Tensor = loss + config.contrast * (F.softplus(-right) + F.softplus(wrong)).mean()
        return total

    def users(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Represent every history by its decoded latent and a 1 for the biases: float32 `[batch, width + 1]`."""
        segments, draws = Segments.of(batch), self.config.scoring_draws
        x, total = self.embedding(batch.items), torch.zeros((), device=batch.items.device)
        for _ in range(max(1, draws)):
            z = self._latents(x, segments, generator, noisy=draws > 0)
            total = total + self._decode(z[segments.last]).float()
        return total / max(1, draws)

    def skip(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> None:
        """Draw the noise of all latents."""
        for _ in range(2 * self.config.scoring_draws):  # on the GRU's states, and before the convolution
            torch.randn((len(batch.items), self.config.hidden), generator=generator, device=batch.items.device)

    def items(self) -> Tensor:
        """Represent every item by its row of the output matrix and its bias: `[n_items, width + 1]`."""
        return torch.cat([self.output.weight, self.output.bias[:, None]], dim=1)

    def _latents(self, x: Tensor, segments: Segments, generator: torch.Generator, *, noisy: bool) -> Tensor:
        """Map `[tokens, width]` to a latent for every position, `[tokens, latent]`."""

        def perturb(u: Tensor) -> Tensor:
            if not noisy:
                return u + torch.tanh(self.noise.bias)
            return u + torch.tanh(self.noise(torch.randn(u.shape, generator=generator, device=u.device)))

        states = run_gru(self.gru, self.dropout(x, generator), segments)
        with torch.autocast(x.device.type, enabled=False):
            y = perturb(F.softplus(self.before(perturb(states))))
            y = F.softplus(self.convolution(torch.cat([shift(y, k, segments) for k in range(KERNEL)], dim=1)))
            z: Tensor = self.to_latent(self.dropout(states + F.softplus(self.after(y)), generator))
        return z

    def _decode(self, z: Tensor) -> Tensor:
        x = torch.tanh(self.decoder(z))
        return torch.cat([x, torch.ones_like(x[:, :1])], dim=1)

    def _criticise(self, x: Tensor, z: Tensor, segments: Segments) -> Tensor:
        """D(x, z), `[tokens, 1]`."""
        verdict: Tensor = self.verdict(F.gelu(run_gru(self.critic, torch.cat([x, z], dim=1), segments)))
        return verdict


FAMILY = Family("acvae", ACVAEConfig, ACVAE)
