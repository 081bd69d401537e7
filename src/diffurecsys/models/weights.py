"""Trained weights on disk: one safetensors file that knows what made it and whether it is whole."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffurecsys.errors import DataError
from diffurecsys.models.base import Ranker, RankerConfig
from diffurecsys.models.registry import build_ranker, find_family

METADATA_KEY = "diffurecsys"
CHOSEN = "chosen/"  # before names of tensors


@dataclass(frozen=True)
class RankerWeights:
    """Weights and everything needed to build the ranker around them.

    Attributes:
        family: of the ranker.
        n_items: size of the catalogue.
        config: hyper-parameters.
        state: tensors by name, what was counted included.
        identity: digest of what made them, see `Cell.identity`.
        data: fingerprint of the sequences and their split, whose numbers of items the weights use.
        max_length: histories were cut to their last so many items.
        chosen: where the ranker learnt once more, from validation targets too: what validation chose before that, and
            is asked for validation targets. Empty: `state` is.
    """

    family: str
    n_items: int
    config: RankerConfig
    state: dict[str, Tensor]
    identity: str
    data: str
    max_length: int
    chosen: dict[str, Tensor] = field(default_factory=dict)

    def build(self, device: torch.device | str = "cpu") -> Ranker:
        """Return the ranker with these weights, in evaluation mode.

        Raises:
            DataError: the weights were left behind where they were made.
        """
        if not self.state:
            raise DataError(
                f"a finished {self.family} was imported without its weights: its ranks can be compared, but it cannot "
                "be asked anything new. Import the weights, too, or remove the import to have it trained here."
            )
        built = build_ranker(self.family, self.config, self.n_items)
        built.load_state_dict(self.state)
        return built.to(device).eval()


def digest_state(state: dict[str, Tensor]) -> str:
    """Digest tensors: names, types, shapes and every bit."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def config_from(family: str, values: dict[str, Any]) -> RankerConfig:
    """Make a family's configuration, and those of rankers that it holds, from plain values, as JSON has them."""
    kind = find_family(family).config
    known = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(set(values) - known):
        raise DataError(f"the family {family!r} has no parameter {', '.join(unknown)}: train again with this version")
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    parts = {name: config_from(held, values.get(name, {})) for name, held in kind.parts(values).items()}
    return kind(**{**plain, **parts})


def save_weights(weights: RankerWeights, path: Path) -> None:
    """Write `weights`; the same weights give the same bytes."""
    from safetensors.torch import save_file

    description: dict[str, Any] = {
        **{name: getattr(weights, name) for name in ("family", "n_items", "identity", "data", "max_length")},
        "config": asdict(weights.config),
    }
    tensors = {**weights.state, **{f"{CHOSEN}{name}": tensor for name, tensor in weights.chosen.items()}}
    sealed = {**description, "digest": _seal(description, tensors)}
    metadata = {METADATA_KEY: json.dumps(sealed, sort_keys=True)}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)


def load_weights(path: Path) -> RankerWeights:
    """Read what `save_weights` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: the file is damaged or holds something else.
    """
    from safetensors import safe_open

    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: train the model first")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except Exception as error:  # a damaged header can make it name any type, size or character
        raise DataError(f"{path} is not a whole safetensors file ({error}): delete it and train again") from error
    try:
        description = json.loads(metadata[METADATA_KEY])
        digest = description.pop("digest")
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise DataError(
            f"{path} holds tensors, but not of a ranker trained by this version (no whole {METADATA_KEY!r} in its "
            "metadata): delete it and train again"
        ) from error
    if _seal(description, state) != digest:
        raise DataError(f"{path} is damaged: it does not hold what was written; delete it and train again")
    config = config_from(description["family"], description.pop("config"))
    own = {name: tensor for name, tensor in state.items() if not name.startswith(CHOSEN)}
    chosen = {name.removeprefix(CHOSEN): tensor for name, tensor in state.items() if name not in own}
    return RankerWeights(**description, config=config, state=own, chosen=chosen)


def _seal(description: dict[str, Any], state: dict[str, Tensor]) -> str:
    """Digest tensors together with all that is said of them."""
    return hashlib.sha256(f"{json.dumps(description, sort_keys=True)} {digest_state(state)}".encode()).hexdigest()
