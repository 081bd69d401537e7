"""Trained weights on disk: one safetensors file that knows which model it belongs to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffurecsys.models import build_model
from diffurecsys.models.config import ModelConfig
from diffurecsys.models.recommender import DiffusionRecommender

METADATA_KEY = "diffurecsys"


@dataclass(frozen=True)
class ModelWeights:
    """Weights and everything needed to build the model around them.

    Attributes:
        model: name of the variant.
        n_items: size of the catalogue.
        config: hyper-parameters.
        state: tensors by name.
    """

    model: str
    n_items: int
    config: ModelConfig
    state: dict[str, Tensor]

    def build(self, device: torch.device | str = "cpu") -> DiffusionRecommender:
        """Return the model with these weights, in evaluation mode."""
        built = build_model(self.model, self.n_items, self.config)
        built.load_state_dict(self.state)
        return built.to(device).eval()


def save_weights(weights: ModelWeights, path: Path) -> None:
    """Write `weights`; the same weights give the same bytes."""
    description = {"model": weights.model, "n_items": weights.n_items, "config": asdict(weights.config)}
    metadata = {METADATA_KEY: json.dumps(description, sort_keys=True)}
    save_file({name: tensor.contiguous() for name, tensor in weights.state.items()}, path, metadata=metadata)


def load_weights(path: Path) -> ModelWeights:
    """Read what `save_weights` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: train the model first")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): delete it and train again") from error
    if METADATA_KEY not in metadata:
        raise ValueError(f"{path} holds tensors, but not of a model trained here (no {METADATA_KEY!r} in its metadata)")
    description = json.loads(metadata[METADATA_KEY])
    return ModelWeights(description["model"], description["n_items"], ModelConfig(**description["config"]), state)
