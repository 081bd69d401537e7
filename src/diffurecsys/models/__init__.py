"""Models: one protocol (`loss`, `score`), one registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from diffurecsys.models.config import ModelConfig
from diffurecsys.models.cross_attention import CrossAttentionDenoiser
from diffurecsys.models.denoiser import Denoiser
from diffurecsys.models.diffurec import DiffuRecDenoiser
from diffurecsys.models.recommender import DiffusionRecommender


@dataclass(frozen=True)
class Variant:
    """One row of the paper's Table 1."""

    denoiser: Callable[[ModelConfig], Denoiser]
    offset_noise: bool


MODELS: dict[str, Variant] = {
    "diffurec": Variant(DiffuRecDenoiser, offset_noise=False),
    "cross_attention": Variant(CrossAttentionDenoiser, offset_noise=False),
    "diffurecsys": Variant(CrossAttentionDenoiser, offset_noise=True),
}


def build_model(
    name: str, n_items: int, config: ModelConfig, generator: torch.Generator | None = None
) -> DiffusionRecommender:
    """Build a model of `MODELS`.

    Args:
        name: the variant.
        n_items: size of the catalogue.
        config: its hyper-parameters.
        generator: draws the initial weights; None leaves them for a checkpoint to fill.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; choose one of {', '.join(MODELS)}")
    variant = MODELS[name]
    with torch.random.fork_rng(devices=[]):  # module constructors draw from the global stream; leave it as it was
        model = DiffusionRecommender(variant.denoiser(config), n_items, config, offset_noise=variant.offset_noise)
    if generator is not None:
        model.initialise(generator)
    return model


__all__ = ["MODELS", "DiffusionRecommender", "ModelConfig", "Variant", "build_model"]
