"""Checkpoints: everything that continuing a run needs, written atomically."""

from __future__ import annotations

import hashlib
import logging
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffurecsys.files import atomic_path

logger = logging.getLogger(__name__)


def fingerprint(*parts: object) -> str:
    """Digest settings (by `repr`) and tensors (by content): two runs agree where they would give the same weights."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            digest.update(part.detach().cpu().contiguous().numpy().tobytes())
        else:
            digest.update(repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def save_checkpoint(path: Path, state: dict[str, Any], run: str) -> None:
    """Write `state` of the run with fingerprint `run`, replacing the previous checkpoint in one step."""
    with atomic_path(path) as temporary:
        torch.save({"fingerprint": run, "state": state}, temporary)


def load_checkpoint(path: Path, run: str) -> dict[str, Any] | None:
    """Return the state saved for the run with fingerprint `run`.

    None, with a warning where a file was there, if it cannot be read or belongs to other settings, data or seed.
    """
    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        logger.warning("Checkpoint %s cannot be read (%s): training starts afresh.", path, error)
        return None
    if not isinstance(saved, dict) or saved.get("fingerprint") != run:
        logger.warning("Checkpoint %s belongs to other settings, data or seed: training starts afresh.", path)
        return None
    state: dict[str, Any] = saved["state"]
    return state
