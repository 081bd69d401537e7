"""Random streams derived from a seed."""

from __future__ import annotations

import torch

from diffurecsys.training import derive_generator


def draw(seed: int, purpose: str) -> list[float]:
    return torch.rand(4, generator=derive_generator(seed, purpose)).tolist()


def test_streams_repeat_and_differ_by_seed_and_purpose():
    assert draw(0, "noise") == draw(0, "noise")
    streams = {tuple(draw(seed, purpose)) for seed in range(5) for purpose in ("noise", "shuffle", "weights")}
    assert len(streams) == 15
