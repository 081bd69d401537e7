"""Checkpoints: everything that continuing a run needs, written atomically."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffurecsys.files import atomic_path

logger = logging.getLogger(__name__)


def fingerprint(*parts: object) -> str:
    """Digest tensors (type, shape and every bit), collections of them, and whatever else by `repr`."""
    digest = hashlib.sha256()
    for part in _leaves(parts):
        if isinstance(part, Tensor):
            digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
            digest.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        else:
            digest.update(repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def _leaves(part: object) -> Iterator[object]:
    """Walk through nested collections; their kinds and sizes count too."""
    if isinstance(part, Mapping):
        yield ("mapping", len(part))
        for name, value in part.items():
            yield repr(name)
            yield from _leaves(value)
    elif isinstance(part, list | tuple):
        yield ("sequence", len(part))
        for value in part:
            yield from _leaves(value)
    else:
        yield part


def save_checkpoint(path: Path, state: dict[str, Any], run: str) -> None:
    """Write `state` of the run with fingerprint `run`, replacing the previous checkpoint in one step."""
    with atomic_path(path) as temporary:
        torch.save({"fingerprint": run, "state": state, "digest": fingerprint(run, state)}, temporary)


def load_checkpoint(path: Path, run: str) -> dict[str, Any] | None:
    """Return the state saved for the run with fingerprint `run`.

    None, with a warning where a file was there, if it is damaged or belongs to other settings, data or seed.
    """
    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        whole = fingerprint(saved["fingerprint"], saved["state"]) == saved["digest"]
    except Exception as error:  # whatever zipfile, pickle and PyTorch make of other bytes
        logger.warning("Checkpoint %s cannot be read (%s): training starts afresh.", path, error)
        return None
    if not whole:
        logger.warning("Checkpoint %s is damaged, not all is as it was written: training starts afresh.", path)
        return None
    if saved["fingerprint"] != run:
        logger.warning("Checkpoint %s belongs to other settings, data or seed: training starts afresh.", path)
        return None
    state: dict[str, Any] = saved["state"]
    return state
