"""Names that become folders, namespaces and keys: which can be one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

DATASET_NAME = re.compile(r"\w[\w-]*")
_EXPERIMENT = re.compile(r"\w([\w .-]*\w)?")  # one folder, whatever the system
_RANKER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(1, 10))}
BOXES = (
    "study",
    "significance",
    "groups",
    "inference",
    "sweep",
    "sweeps",
    "maps",
    "reporting",
    "summary",
    "report",
    "final",
    "onnx",
)


def unfit_names(experiment: Any, models: Any, section: str = "models") -> list[str]:  # noqa: ANN401 - as YAML gave them
    """Say which names cannot be what they are for: an experiment a folder, a ranker a namespace of the pipeline."""
    problems = []
    if isinstance(experiment, str) and (not _EXPERIMENT.fullmatch(experiment) or experiment.lower() in _DEVICES):
        problems.append(
            f"experiment: {experiment!r} cannot name a folder; use letters, digits, -, _, spaces and dots between them"
        )
    for name in models if isinstance(models, Mapping) else ():
        if not isinstance(name, str):
            problems.append(f"{section}: the name {name!r} is no text; quote it ('{name}') or choose another")
        elif not _RANKER.fullmatch(name):
            problems.append(f"{section}.{name}: a ranker's name is a letter, then letters, digits, _ and -")
        elif name in BOXES:
            problems.append(f"{section}.{name}: a part of the study has this name; choose another")
    return problems
