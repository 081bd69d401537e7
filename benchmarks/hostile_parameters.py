"""Give every parameter of every section and family hostile values, and list those that are accepted, to be looked at.

python benchmarks/hostile_parameters.py
"""

from __future__ import annotations

import dataclasses
from typing import Any

from common import write_json
from diffurecsys.models.registry import families
from diffurecsys.parameters.errors import typed
from diffurecsys.parameters.sections import SECTIONS, ImportParameters, RankerParameters, SweepParameters
from diffurecsys.training import TrainingConfig

HOSTILE: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 0.5, -0.5, 1e-30, 10**12, float("nan"), float("inf"), "", " ", "abc", "a\0b", "../x", "/x"),
    *([], [0], [1, 1], [-1], [None], ["abc", "abc"], {}, {"a": 1}, "2024-13-01", "1e3"),
)
NEEDED: dict[str, dict[str, Any]] = {
    "dataset": {"name": "mine", "archive": "mine.inter"},
    "study": {"rankers": ["a", "b"]},
    "split": {"protocol": "temporal"},
    "sweep": {"rankers": ["a"], "parameter": "network.width", "values": [1]},
    "import": {"file": "a.csv"},
    "ranker": {"family": "sasrec"},
}


def main() -> None:
    """Print what is accepted, and how much is refused."""
    kinds: dict[str, type[Any]] = {
        **SECTIONS,
        "training": TrainingConfig,
        "sweep": SweepParameters,
        "import": ImportParameters,
        "ranker": RankerParameters,
        **{name: family.config for name, family in families().items()},
    }
    refused, n_accepted, accepted = 0, 0, {}
    for section, kind in kinds.items():
        for part in dataclasses.fields(kind):
            kept = []
            for value in HOSTILE:
                problems: list[str] = []
                if typed(kind, {**NEEDED.get(section, {}), part.name: value}, section, problems) is None:
                    refused += 1
                else:
                    kept.append(value)
            if kept:
                accepted[f"{section}.{part.name}"] = repr(kept)
                n_accepted += len(kept)
    write_json(None, {"refused": refused, "accepted": n_accepted, "of": accepted})


if __name__ == "__main__":
    main()
