"""Parameters: as values that YAML gives, and as the text of conf/."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from diffurecsys.configuration import StudyConfigLoader
from diffurecsys.parameters import Parameters, check_dataset_name, flatten, validate_parameters
from diffurecsys.settings import CONFIG_LOADER_ARGS
from fuzz_inputs import IfAccepted, Target, mutate

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 0.5, 1.5, -0.5, 1e-30, 1e30, 10**30, float("nan"), float("inf"), -float("inf")),
    *(
        "",
        " ",
        "abc",
        "auto",
        "1",
        "0",
        "-1",
        "nan",
        "yes",
        "../..",
        "a b",
        "<script>",
        "\0",
        "x" * 1000,
        "cuda:99",
        "é",
    ),
    *([], [1], ["a"], [[1]], [None], [True], {}, {"a": 1}, {1: 2}, [1] * 1000, "[1, 2]", "sasrec sasrec", "2024-01-01"),
)
TEXT = """
experiment: fuzz
dataset: {name: mine, archive: mine.inter, min_rating: 3.5}
threads: 1
preprocessing: {max_length: 5, user_k: 2, duplicates: first}
split: {protocol: temporal, validation_from: 0.8, test_from: "2024-03-01"}
evaluation: {cutoffs: [5, 10], ranking: unseen, batch_size: 64}
study:
  rankers: [popularity, sasrec, diffurec]
  n_seeds: 2
  references: [sasrec]
  sweeps:
    delta: {rankers: [diffurec], parameter: network.delta, values: [0.0, 0.1], n_seeds: 1}
models:
  popularity: {family: popularity, role: baseline}
  sasrec:
    family: sasrec
    network: {width: 8, blocks: 1, max_length: 5, dropout: 0.1}
    training: {epochs: 2, learning_rate: 0.01, scheme: window}
  diffurec:
    family: diffurec
    network: {width: 8, blocks: 1, heads: 2}
significance: {n_resamples: 100, confidence: 0.9}
groups: {head_share: 0.2, length_quantiles: [0.5]}
recommend: {k: 5, format: csv}
"""


def places(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in nested mappings and lists."""
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from places(value, (*path, key))


def change(raw: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """Replace, remove, rename or add values."""
    changed = copy.deepcopy(raw)
    for _ in range(draw.choice((1, 1, 2, 3))):
        found = list(places(changed))
        *parents, key = draw.choice(found)
        inner: Any = changed
        for parent in parents:
            inner = inner[parent]
        kind = draw.choice(("replace", "replace", "replace", "remove", "rename", "add"))
        if kind == "remove":
            del inner[key]
        elif kind == "rename" and isinstance(inner, dict):
            inner[draw.choice((f"{key}s", 1, None, "on", "network", "models"))] = inner.pop(key)
        elif kind == "add" and isinstance(inner, dict):
            inner[draw.choice(("seed", "width", "max_length", "device", "extra", "rankers", "n_seeds"))] = draw.choice(
                VALUES
            )
        else:
            inner[key] = copy.deepcopy(draw.choice(VALUES))
        if not changed:
            break
    return changed


def unlike(raw: dict[str, Any], found: Parameters) -> list[str]:
    """Name sections' values that were read as something else than they say: texts of numbers are these numbers."""
    said = flatten({name: value for name, value in raw.items() if name not in ("models", "import_ranks", "study")})
    read = flatten({name: value for name, value in found.sections.items() if name != "study"})
    return [name for name, value in said.items() if name in read and not _same(value, read[name])]


def _same(said: str, read: str) -> bool:
    plain = [text.strip("()[]").replace("'", "").replace(",", " ").replace(";", " ").split() for text in (said, read)]
    try:
        return [float(word) for word in plain[0]] == [float(word) for word in plain[1]]
    except ValueError:
        return plain[0] == plain[1] or said == "None"


class Values:
    """Values as YAML gives them, put into `validate_parameters`."""

    def __init__(self) -> None:
        self._raw = yaml.safe_load(TEXT)
        self._drawn: dict[str, Any] = {}

    def make(self, draw: random.Random) -> bytes:
        """Draw parameters; what is returned shows them."""
        self._drawn = change(self._raw, draw)
        return repr(self._drawn).encode("utf-8", "backslashreplace")

    def read(self, _content: bytes) -> object:
        """Validate what was drawn."""
        return unlike(self._drawn, validate_parameters(self._drawn))


class Texts:
    """A project's conf/ whose one file is mutated as text."""

    def __init__(self, folder: Path) -> None:
        self._conf = folder / "conf"
        for name in ("base", "fuzz"):
            (self._conf / name).mkdir(parents=True)
        (self._conf / "base" / "globals.yml").write_text(
            "experiment: fuzz\ndataset: mine\nwidth: 8\n", encoding="utf-8"
        )
        (self._conf / "base" / "datasets.yml").write_text(json.dumps({"datasets": {"mine": {}}}), encoding="utf-8")

    def make(self, draw: random.Random) -> bytes:
        """Mutate the text."""
        return mutate(TEXT.encode(), draw)

    def read(self, content: bytes) -> object:
        """Load and validate."""
        (self._conf / "fuzz" / "parameters.yml").write_bytes(content)
        loader = StudyConfigLoader(str(self._conf), env="fuzz", **CONFIG_LOADER_ARGS)
        check_dataset_name(loader["globals"])
        raw = loader["parameters"]
        return unlike(raw, validate_parameters(raw))


def nothing(_content: bytes) -> object:
    """Expect that no value is read as another."""
    return IfAccepted([])


def yaml_targets(folder: Path) -> list[Target]:
    """Return both."""
    values, texts = Values(), Texts(folder)
    return [
        Target("YAML values", "", values.read, nothing, values.make),
        Target("YAML text", "", texts.read, nothing, texts.make),
    ]
