"""How weights begin."""

from __future__ import annotations

import torch
from torch import nn


def draw_linear(module: nn.Module, generator: torch.Generator) -> None:
    """Draw the matrices of all linear maps in `module` (Xavier, on the host); their biases begin at zero."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight, generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
