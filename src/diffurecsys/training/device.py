"""Where a model runs and in which precision."""

from __future__ import annotations

import ctypes
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch

from diffurecsys.errors import UserError
from diffurecsys.layers.products import products_in
from diffurecsys.training.config import Precision


class DeviceError(UserError, ValueError):
    """The device that is asked for is not there."""


def resolve_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:1`, … into a device; `auto` is CUDA where there is one.

    Raises:
        ValueError: the device is unknown or absent.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"{name!r} is no device; use auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"the device is to be {name!r}, but PyTorch sees no CUDA device here; use auto or cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"the device is to be {name!r}, but there are {torch.cuda.device_count()} CUDA devices here")
    return device


def resolve_precision(device: torch.device, precision: Precision) -> Precision:
    """Turn `auto` into bfloat16 on CUDA and on processors that multiply it faster than float32, elsewhere float32."""
    if precision != "auto":
        return precision
    return "bfloat16" if device.type == "cuda" or (device.type == "cpu" and multiplies_bfloat16()) else "float32"


@cache
def multiplies_bfloat16() -> bool:
    """Tell whether this processor has instructions for products of bfloat16 numbers (AVX512-BF16, AMX)."""
    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # PyTorch 2.11 does not tell
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return the context in which models are asked: bfloat16 autocast on CUDA, where it is the precision."""
    if device.type == "cuda" and resolve_precision(device, precision) == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def in_precision(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return the context in which losses are computed: `autocast`, or on a CPU products in bfloat16."""
    if device.type == "cpu" and resolve_precision(device, precision) == "bfloat16":
        return products_in(torch.bfloat16)
    return autocast(device, precision)


M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next tensor rather than hand it back to the system.

    A training step on the host allocates and frees the same large tensors again and again; by default glibc maps and
    zeroes fresh pages for each, about a fifth of the step. Does nothing without glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 64 << 20)
