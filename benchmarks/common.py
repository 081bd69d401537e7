"""What the benchmarks share: real sequences, the machine's description, results as JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from diffurecsys.data.packing import Packer
from diffurecsys.data.schemes import prefixes
from diffurecsys.data.split import StudyData, leave_one_out, load_split
from diffurecsys.machine import describe_machine as describe_machine
from diffurecsys.models import build_ranker
from diffurecsys.models.families.diffurec import DiffuRec, DiffuRecConfig

PROJECT = Path(__file__).resolve().parents[1]


MODELS: dict[str, dict[str, Any]] = {  # the paper's three, one family
    "diffurec": {},
    "cross_attention": {"conditioning": "cross"},
    "diffurecsys": {"conditioning": "cross", "offset_noise": True},
}


def build_model(name: str, n_items: int, config: DiffuRecConfig, generator: torch.Generator) -> DiffuRec:
    """Build one of the paper's models with drawn weights."""
    ranker = build_ranker("diffurec", replace(config, **MODELS[name]), n_items, generator)
    assert isinstance(ranker, DiffuRec)
    return ranker


def load_data(experiment: str, length: int) -> StudyData:
    """Load an experiment's sequences and split them for histories of this length."""
    path = PROJECT / "data" / "05_model_input" / experiment / "split.npz"
    if not path.exists():
        sys.exit(f"no sequences at {path}; first run: kedro run --pipeline=preprocessing --env={experiment}")
    store = load_split(path).store
    return StudyData(store, leave_one_out(store, max_length=length))


def training_packer(data: StudyData, device: torch.device) -> Packer:
    """Make batches of all prefixes, as the paper trains."""
    return Packer(data.store, prefixes(data.split.train, data.split.max_length), device)


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
    text = json.dumps({"date": datetime.now(UTC).date().isoformat(), **result}, indent=1)
    print(text)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
