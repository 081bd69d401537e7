"""Dropout whose masks come from an explicit generator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

LEVELS = 2**16  # 16 random bits decide one element


class DropoutMasks:
    """A stream of dropout masks that one number drawn from a generator determines.

    On the host the bits come from NumPy's SFC64, several times faster than PyTorch's Mersenne twister there.

    Attributes:
        scale: what kept elements are multiplied by, so that the mean stays.
    """

    def __init__(self, rate: float, generator: torch.Generator | None, device: torch.device) -> None:
        """Begin a stream.

        Args:
            rate: probability of dropping an element; kept to 2^-16.
            generator: on `device`; None is PyTorch's global one.
            device: where the masks are needed.
        """
        dropped = round(rate * LEVELS)
        self.scale = LEVELS / (LEVELS - dropped)
        self._threshold = dropped - LEVELS // 2
        self._generator, self._device = generator, device
        if device.type == "cpu":
            seed = int(torch.randint(2**62, (), generator=generator))
            self._host = np.random.Generator(np.random.SFC64(seed))

    def dropped(self, shape: torch.Size, out: Tensor | None = None) -> Tensor:
        """Return the next float32 numbers of this shape: -1 where an element is dropped, 0 elsewhere."""
        out = torch.empty(shape, device=self._device) if out is None else out
        # float32 holds the bits exactly; comparing integers, and turning truth into numbers, are several times slower
        return out.copy_(self._bits(shape)).sub_(self._threshold).clamp_(-1, 0)

    def factors(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Return the next numbers of this shape: 0 where an element is dropped, `scale` elsewhere."""
        if self._device.type != "cpu":
            return (self._bits(shape) >= self._threshold).to(dtype).mul_(self.scale)
        dropped = self.dropped(shape)
        return torch.add(torch.tensor(self.scale), dropped, alpha=self.scale, out=dropped).to(dtype)

    def _bits(self, shape: torch.Size) -> Tensor:
        elements = shape.numel()
        return self._words(-(-elements // 4)).view(torch.int16)[:elements].view(shape)

    def _words(self, count: int) -> Tensor:
        if self._device.type == "cpu":
            words = self._host.integers(-(2**63), 2**63 - 1, size=count, dtype=np.int64, endpoint=True)
            return torch.from_numpy(words)
        words_there = torch.empty(count, dtype=torch.int64, device=self._device)
        return words_there.random_(-(2**63), None, generator=self._generator)


class Dropout(nn.Module):
    """Inverted dropout of `[rows, width]`; the rate is exact to 2^-16."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    @property
    def active(self) -> bool:
        """Whether anything is dropped now."""
        return self.training and self.rate > 0

    def forward(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Zero elements with probability `rate` and rescale the rest; the identity in evaluation."""
        return x * self._factors(x, generator) if self.active else x

    def add(self, x: Tensor, branch: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return `x` plus the dropped-out `branch`."""
        if not self.active:
            return x + branch
        return torch.addcmul(x, branch, self._factors(branch, generator))

    def _factors(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return DropoutMasks(self.rate, generator, x.device).factors(x.shape, x.dtype)
