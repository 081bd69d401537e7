"""Independent random streams derived from one seed."""

from __future__ import annotations

import hashlib

import torch


def derive_generator(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator whose stream depends on `seed` and `purpose` alone.

    Streams for different purposes are unrelated: drawing more of one never shifts another.
    """
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "big") % 2**63)
