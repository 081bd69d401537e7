"""The grid of a study: which rankers are trained under which seeds, and which controls beside them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any, Literal, get_args

from diffurecsys.data.split import TRAINING
from diffurecsys.models.base import RankerConfig
from diffurecsys.models.registry import find_family
from diffurecsys.training.config import TrainingConfig

FinalFitOn = Literal["training", "training_and_validation"]
Unfinished = Literal["fit", "leave_out"]
Role = Literal["model", "baseline", "control"]
ROLES = get_args(Role)

INCIDENTAL = ("device", "checkpoint_every")  # training settings that change no number


@dataclass(frozen=True)
class RankerSpec:
    """One ranker of a study: all that decides its numbers besides data and seed.

    Attributes:
        name: as tables call it.
        family: what kind of ranker it is.
        role: `model`, `baseline` or `control`: its section in tables; models are warned of losing to baselines.
        network: its hyper-parameters.
        training: how it is trained; without meaning for rankers that do not train.
        final_fit_on: what is learnt from before the test targets are ranked. `training_and_validation` learns once
            more, for as many epochs as validation chose; validation targets are ranked before that.
    """

    name: str
    family: str
    role: Role
    network: RankerConfig
    training: TrainingConfig
    final_fit_on: FinalFitOn = TRAINING

    @property
    def trains(self) -> bool:
        """Whether it has a loss."""
        return self.network.capabilities.trains

    def varied(self, name: str, parameter: str, value: Any) -> RankerSpec:  # noqa: ANN401 - any parameter's value
        """Return the ranker with another value of `network.…` or `training.…`, under another name.

        Raises:
            ValueError: there is no such parameter, or it cannot have this value.
        """
        part, _, key = parameter.partition(".")
        if part not in ("network", "training") or key not in {f.name for f in dataclasses.fields(getattr(self, part))}:
            raise ValueError(f"{self.name} has no parameter {parameter!r}")
        changed = dataclasses.replace(getattr(self, part), **{key: value})
        return dataclasses.replace(self, name=name, role="control", **{part: changed})


@dataclass(frozen=True)
class Variation:
    """What a ranker of a sweep changes.

    Attributes:
        sweep: name of the sweep.
        base: the ranker that is varied.
        parameter: dotted, `network.delta`.
        value: in place of the configured one.
    """

    sweep: str
    base: str
    parameter: str
    value: Any


@dataclass(frozen=True)
class Cell:
    """One entry of the grid: a ranker under a seed.

    Attributes:
        spec: the ranker.
        seed: what its random streams derive from.
        varies: how it differs from the ranker that a sweep varies.
    """

    spec: RankerSpec
    seed: int = 0
    varies: Variation | None = None

    @property
    def group(self) -> str:
        """Namespace of all cells of the ranker: `diffurec`, `sweep.diffurec_delta_0`."""
        return self.spec.name if self.varies is None else f"sweep.{self.spec.name}"

    @property
    def namespace(self) -> str:
        """Prefix of the cell's nodes and datasets: `diffurec.seed_0`."""
        return f"{self.group}.seed_{self.seed}"

    def identity(self, data_fingerprint: str) -> str:
        """Digest of all that decides the cell's numbers: data, family, its version and its parts', configuration, seed.

        Neither the name nor the role counts, nor where and how often training was interrupted. Of the configuration
        what differs from the defaults counts, so that a new option leaves finished cells as they are; who changes a
        default raises the family's version.
        """
        spec = self.spec
        parts = {
            "family": spec.family,
            **{name: value for name, value in self.description().items() if name in ("version", "parts")},
            "network": essential(spec.network),
            "training": essential(spec.training) if spec.trains else None,
            "seed": self.seed,
            "data": data_fingerprint,
            **self._parts(),
            **self._final_fit(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

    def description(self) -> dict[str, Any]:
        """Return the ranker's configuration as plain values; `parts` are versions of families that it holds, if any."""
        spec = self.spec
        return {
            "family": spec.family,
            "version": find_family(spec.family).version,
            **self._parts(),
            "network": dataclasses.asdict(spec.network),
            "training": dataclasses.asdict(spec.training) if spec.trains else None,
            **self._final_fit(),
        }

    def _final_fit(self) -> dict[str, str]:
        learnt = self.spec.final_fit_on
        return {} if learnt == TRAINING else {"final_fit_on": learnt}

    def _parts(self) -> dict[str, dict[str, int]]:
        held = self.spec.network.parts(dataclasses.asdict(self.spec.network))
        return {"parts": {name: find_family(family).version for name, family in held.items()}} if held else {}


def essential(config: RankerConfig | TrainingConfig) -> dict[str, Any]:
    """Return the settings that change numbers and are not the defaults, as plain values."""
    found = {}
    for part in dataclasses.fields(config):
        value = getattr(config, part.name)
        if part.name not in INCIDENTAL and value != part.default:
            found[part.name] = essential(value) if isinstance(value, RankerConfig) else value
    return found


@dataclass(frozen=True)
class Sweep:
    """Rankers trained again with other values of one parameter.

    Attributes:
        rankers: which rankers of the study.
        parameter: `network.…` or `training.…`.
        values: every value besides the configured one.
        n_seeds: seeds a variant; 0 leaves the sweep out.
        seeds_of: seeds of single rankers' variants, in place of `n_seeds`.
    """

    rankers: tuple[str, ...]
    parameter: str
    values: tuple[Any, ...]
    n_seeds: int = 1
    seeds_of: Mapping[str, int] = field(default_factory=dict)

    def variants(self, name: str, specs: Mapping[str, RankerSpec]) -> Iterable[tuple[RankerSpec, Variation]]:
        """Yield every ranker that the sweep adds, of rankers that the study has."""
        label = self.parameter.rpartition(".")[2]
        for ranker in self.rankers:
            if self.n_seeds and ranker in specs:
                for value in self.values:
                    variant = specs[ranker].varied(variant_name(ranker, label, value), self.parameter, value)
                    yield variant, Variation(name, ranker, self.parameter, value)


@dataclass(frozen=True)
class Study:
    """Which rankers, how many seeds, which controls.

    Attributes:
        specs: all rankers, in the order of the report.
        n_seeds: seeds of each ranker that trains; others have the single seed 0.
        seeds_of: seeds of single rankers, in place of `n_seeds`.
        references: every ranker is tested against these; empty: all that train against each other and the others.
        sweeps: rankers trained again with other values of a parameter.
        probed: rankers whose inference is examined, with those that sweeps make of them; None: all that can be.
        mapped: rankers whose representations are drawn; None: all models that have vectors.
        unfinished: cells that are to be trained are fitted (`fit`) or not looked at (`leave_out`).
        left_out: what that leaves out, for people to read.
    """

    specs: tuple[RankerSpec, ...]
    n_seeds: int
    seeds_of: Mapping[str, int] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    sweeps: Mapping[str, Sweep] = field(default_factory=dict)
    probed: tuple[str, ...] | None = None
    mapped: tuple[str, ...] | None = None
    unfinished: Unfinished = "fit"
    left_out: tuple[str, ...] = ()

    @property
    def final_fit_on(self) -> FinalFitOn:
        """What every ranker learns from before the test targets are ranked."""
        return self.specs[0].final_fit_on

    def __post_init__(self) -> None:
        """Refuse an empty or ambiguous grid.

        Raises:
            ValueError: naming the parameter and its value.
        """
        if len(self.specs) < 2:
            raise ValueError(f"study.rankers names {len(self.specs)} ranker(s): a study compares at least two")
        if self.n_seeds < 1:
            raise ValueError(f"study.n_seeds must be at least 1, got {self.n_seeds}")
        names = [spec.name for spec in self.specs]
        if len(set(names)) < len(names):
            raise ValueError(f"study.rankers must not repeat a name, got {names}")
        for name in self.references:
            if name not in names:
                raise ValueError(
                    f"study.references names {name!r}, which is none of study.rankers ({', '.join(names)})"
                )
        for name, sweep in self.sweeps.items():
            if sweep.n_seeds < 0:
                raise ValueError(f"study.sweeps.{name}.n_seeds must not be negative, got {sweep.n_seeds}")
            if len(set(sweep.values)) < len(sweep.values):
                raise ValueError(f"study.sweeps.{name}.values must not repeat a value, got {list(sweep.values)}")
            for _, varies in self._variants(name):
                base = self.spec(varies.base)
                part, _, key = varies.parameter.partition(".")
                if getattr(getattr(base, part), key) == varies.value:
                    raise ValueError(
                        f"study.sweeps.{name}.values must not hold {varies.value!r}: {base.name} has it anyway"
                    )

    def _variants(self, name: str) -> list[tuple[RankerSpec, Variation]]:
        try:
            return list(self.sweeps[name].variants(name, {spec.name: spec for spec in self.specs}))
        except ValueError as error:
            raise ValueError(f"study.sweeps.{name}: {error}") from None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all rankers but the sweeps', in order."""
        return tuple(spec.name for spec in self.specs)

    def spec(self, name: str) -> RankerSpec:
        """Return a ranker, one of a sweep included.

        Raises:
            KeyError: there is none of this name.
        """
        return self.specs_by_name[name]

    @cached_property
    def specs_by_name(self) -> dict[str, RankerSpec]:
        """All rankers, those of the sweeps last."""
        variants = [spec for name in self.sweeps for spec, _ in self._variants(name)]
        return {spec.name: spec for spec in (*self.specs, *variants)}

    def with_role(self, role: Role) -> tuple[str, ...]:
        """Names of the rankers with a role, in order; the sweeps' are left out."""
        return tuple(spec.name for spec in self.specs if spec.role == role)

    @cached_property
    def main(self) -> tuple[Cell, ...]:
        """All cells but the sweeps', ranker by ranker."""
        return tuple(
            Cell(spec, seed)
            for spec in self.specs
            for seed in range(self.seeds_of.get(spec.name, self.n_seeds) if spec.trains else 1)
        )

    @cached_property
    def varied(self) -> tuple[Cell, ...]:
        """The sweeps' cells."""
        return tuple(
            Cell(spec, seed, varies)
            for name, sweep in self.sweeps.items()
            for spec, varies in self._variants(name)
            for seed in range(sweep.seeds_of.get(varies.base, sweep.n_seeds))
        )

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, the sweeps' last."""
        return self.main + self.varied

    def cells_of(self, ranker: str) -> tuple[Cell, ...]:
        """All cells of a ranker, one of a sweep included."""
        return tuple(cell for cell in self.cells if cell.spec.name == ranker)

    def probes(self, cell: Cell) -> bool:
        """Whether the inference of the cell's ranker is to be examined, as far as it can be."""
        return self.probed is None or (cell.varies.base if cell.varies else cell.spec.name) in self.probed

    def maps(self, spec: RankerSpec) -> bool:
        """Whether the ranker's representations are to be drawn."""
        able = spec.network.capabilities.vectors
        return able and (spec.role == "model" if self.mapped is None else spec.name in self.mapped)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Which rankers are tested against which: (ranker, reference)."""
        if self.references:
            names, seen = list(self.names), set()
            pairs = []
            for reference in self.references:
                for name in names:
                    if name != reference and (reference, name) not in seen:
                        seen.add((name, reference))
                        pairs.append((name, reference))
            return tuple(pairs)
        trained = [spec.name for spec in self.specs if spec.trains]
        counted = [name for name in self.names if name not in trained]
        between = [(name, trained[i]) for j, name in enumerate(trained) for i in range(j)]
        against = [(name, other) for name in trained for other in counted]
        return tuple(between + against) or tuple(combinations(reversed(counted), 2))


def variant_name(ranker: str, parameter: str, value: Any) -> str:  # noqa: ANN401 - any parameter's value
    """Name a sweep's variant as datasets and files allow: `diffurec_delta_0_01`."""
    text = f"{value:.10g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
    return f"{ranker}_{parameter}_{text}".replace(".", "_").replace("-", "minus_")
