"""What the benchmarks share: real sequences, the machine's description, results as JSON."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from diffurecsys.data.store import SequenceStore

PROJECT = Path(__file__).resolve().parents[1]


def load_store(experiment: str) -> SequenceStore:
    """Load an experiment's preprocessed sequences."""
    import pyarrow.parquet as pq  # machines with a GPU may have PyTorch and NumPy alone: see gpu_check.py

    from diffurecsys.data.sequences import to_store

    folder = PROJECT / "data" / "03_primary" / experiment
    if not (folder / "sequences.parquet").exists():
        sys.exit(
            f"no sequences in {folder}; first run: kedro run --pipeline=ingestion,preprocessing --env={experiment}"
        )
    n_items = pq.read_metadata(folder / "item_vocabulary.parquet").num_rows
    return to_store(pq.read_table(folder / "sequences.parquet"), n_items)


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Say what the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def matmul_flops(device: torch.device, rows: int, width: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Rate of `[rows, width] @ [width, 4 width]` products in FLOP/s: the limit of a network of this width.

    In the type that training computes in: bfloat16 on CUDA, else float32. On a busy machine take the clock that what
    is compared was measured by, `time.process_time`.
    """
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    a = torch.randn(rows, width, device=device, dtype=dtype)
    b = torch.randn(width, 4 * width, device=device, dtype=dtype)
    best, repeats = float("inf"), 20
    for _ in range(8):
        synchronise(device)
        began = clock()
        for _ in range(repeats):
            a @ b
        synchronise(device)
        best = min(best, (clock() - began) / repeats)
    return 2 * rows * width * 4 * width / best


def memory_bandwidth(device: torch.device) -> float:
    """Bytes a second of copying a large tensor, read and written: the limit of everything element by element."""
    source = torch.ones(64 << 20, device=device)
    target, best = torch.empty_like(source), float("inf")
    for _ in range(6):
        synchronise(device)
        began = time.perf_counter()
        target.copy_(source)
        synchronise(device)
        best = min(best, time.perf_counter() - began)
    return 2 * source.nbytes / best


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> int:
    """Most bytes this process has held at once: on CUDA in tensors, else resident in all."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    """Print the result and, if asked, keep it."""
    text = json.dumps(result, indent=1)
    print(text)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
