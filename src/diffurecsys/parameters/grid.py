"""The study's grid of its parameters: every ranker checked by its own family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from diffurecsys.models.base import Family, RankerConfig
from diffurecsys.models.registry import FamilyError, find_family
from diffurecsys.parameters.errors import typed, unknown_rankers
from diffurecsys.parameters.sections import RankerParameters, StudyParameters
from diffurecsys.parameters.varied import unfit_value
from diffurecsys.study import RankerSpec, Study, Sweep
from diffurecsys.training.config import TrainingConfig


def read_study(
    parameters: StudyParameters | None,
    models: Any,  # noqa: ANN401
    imports: Sequence[RankerSpec],
    problems: list[str],
) -> Study | None:
    """Put the grid together; every entry of `models` is checked, whether or not the study names it."""
    if not isinstance(models, Mapping):
        problems.append(f"models: must map names to rankers (got {models!r})")
        return None
    found = {str(name): _ranker(str(name), entry, problems) for name, entry in models.items()}
    if parameters is None:
        return None
    named = unknown_rankers(parameters.rankers, "study.rankers", list(found))
    sweeps: dict[str, Sweep] = {}
    for name, sweep in parameters.sweeps.items():
        named += unknown_rankers(sweep.rankers, f"study.sweeps.{name}.rankers", list(found))
        known = [entry[0] for ranker in sweep.rankers if (entry := found.get(ranker)) is not None]
        place = f"study.sweeps.{name}.values"
        named += [
            problem
            for spec in known
            for value in sweep.values
            for problem in unfit_value(spec, sweep.parameter, value, place)
        ]
        sweeps[name] = Sweep(sweep.rankers, sweep.parameter, sweep.values, sweep.n_seeds)
    problems += named
    ready = {name: entry for name, entry in found.items() if entry is not None}
    if named or any(name not in ready for name in parameters.rankers):
        return None
    seeds = {name: count for name in parameters.rankers if (count := ready[name][1]) is not None}
    specs = tuple(
        replace(spec, final_fit_on=parameters.final_fit_on)
        for spec in (*(ready[name][0] for name in parameters.rankers), *imports)
    )
    try:
        return Study(specs, parameters.n_seeds, seeds, parameters.references, sweeps, unfinished=parameters.unfinished)
    except ValueError as error:
        problems.append(str(error))
        return None


def _ranker(name: str, raw: Any, problems: list[str]) -> tuple[RankerSpec, int | None] | None:  # noqa: ANN401
    """Check one entry of `models` by the family that it names."""
    path = f"models.{name}"
    entry = typed(RankerParameters, raw, path, problems)
    if entry is None:
        return None
    try:
        family = find_family(entry.family)
    except FamilyError as error:
        problems.append(f"{path}.family: {error}")
        return None
    network = _network(family, entry.network, f"{path}.network", problems)
    training = typed(TrainingConfig, entry.training, f"{path}.training", problems)
    if network is None or training is None:
        return None
    able = network.capabilities
    if able.trains and training.scheme not in able.schemes:
        problems.append(
            f"{path}.training.scheme: {entry.family} cannot learn under {training.scheme!r}; "
            f"choose from {', '.join(able.schemes)}"
        )
        return None
    return RankerSpec(name, entry.family, entry.role, network, training), entry.n_seeds


def _network(family: Family, raw: Any, path: str, problems: list[str]) -> RankerConfig | None:  # noqa: ANN401
    """Check a ranker's hyper-parameters; those of rankers that it holds by their own families."""
    values = dict(raw) if isinstance(raw, Mapping) else raw
    for name, held in family.config.parts(values).items() if isinstance(values, dict) else ():
        try:
            values[name] = _network(find_family(held), values.get(name) or {}, f"{path}.{name}", problems)
        except FamilyError as error:
            problems.append(f"{path}.{name}: {error}")
            return None
        if values[name] is None:
            return None
    return typed(family.config, values, path, problems)
