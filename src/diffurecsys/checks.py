"""Checks of configuration values; messages name the field, and whoever knows where it stands adds the path."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch


def at_least(config: Any, least: float, *names: str) -> None:  # noqa: ANN401 - any dataclass
    """Refuse fields that are below `least` or no finite number; None is left alone.

    Raises:
        ValueError: `width must be at least 1, got 0`.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not (math.isfinite(value) and value >= least):
            raise ValueError(f"{name} must be at least {least:g}, got {value}")


def positive(config: Any, *names: str) -> None:  # noqa: ANN401
    """Refuse fields that are not above 0 or no finite number; None is left alone.

    Raises:
        ValueError: `learning_rate must be positive, got 0.0`.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive, got {value}")


def within(config: Any, low: float, high: float, *names: str) -> None:  # noqa: ANN401
    """Refuse fields outside [low, high); None is left alone.

    Raises:
        ValueError: `dropout must lie in [0, 1), got 1.0`.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not low <= value < high:
            raise ValueError(f"{name} must lie in [{low:g}, {high:g}), got {value}")


def each_once(config: Any, *names: str) -> None:  # noqa: ANN401
    """Refuse lists that hold a value twice; None is left alone.

    Raises:
        ValueError: `reverse_steps must hold each value once, got [1, 1]`.
    """
    for name in names:
        values = getattr(config, name)
        if values is not None and len(set(values)) < len(values):
            raise ValueError(f"{name} must hold each value once, got {list(values)}")


def file_names(config: Any, *names: str) -> None:  # noqa: ANN401
    """Refuse what names no file or folder: nothing, or characters that no path has; None is left alone.

    Raises:
        ValueError: `users must name a file or folder, got ' '`.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and (not value.strip() or not value.isprintable()):
            raise ValueError(f"{name} must name a file or folder, got {value!r}")


def one_of(config: Any, known: Collection[str], *names: str) -> None:  # noqa: ANN401
    """Refuse fields that are none of `known`.

    Raises:
        ValueError: `loss must be one of bce, cross_entropy, got 'ce'`.
    """
    for name in names:
        value = getattr(config, name)
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def device(config: Any, *names: str) -> None:  # noqa: ANN401
    """Refuse fields that are neither `auto` nor a device that PyTorch knows; whether it is here shows when it is used.

    Raises:
        ValueError: `device must be auto, cpu or cuda, got 'abc'`.
    """
    for name in names:
        value = getattr(config, name)
        try:
            known = value == "auto" or torch.device(value).type in ("cpu", "cuda", "mps", "xpu")
        except RuntimeError:
            known = False
        if not known:
            raise ValueError(f"{name} must be auto, cpu or cuda, got {value!r}")
