"""What a computation ran on, and which code."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

CLEAR_PEAK, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")  # Linux has them


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Say what a computation on `device` runs on: processor, its instructions, cores, threads, versions."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def forget_peak_memory(device: torch.device) -> None:
    """Begin to watch how much memory is used at most, where `peak_memory` can tell."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif CLEAR_PEAK.exists():
        with suppress(OSError):  # not everywhere allowed: the peak is then of the whole process
            CLEAR_PEAK.write_text("5", encoding="ascii")


def peak_memory(device: torch.device) -> int | None:
    """Return the most bytes in use since `forget_peak_memory`; None where the system does not tell.

    On CUDA those of tensors on the device, elsewhere all of the process, PyTorch itself and the data included.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if not STATUS.exists():
        return None
    found = (line for line in STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
    return next((1024 * int(line.split()[1]) for line in found), None)


def git_revision(folder: Path) -> str:
    """Describe the revision checked out in `folder`: its hash, with `-dirty` for local changes; else `unknown`."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.decode(errors="replace").strip()
