"""From parameters as loaded from conf to their types; all that is wrong is said at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from diffurecsys.data.split import TEMPORAL
from diffurecsys.parameters.errors import ParameterError, plain, typed, unknown, unknown_rankers
from diffurecsys.parameters.grid import read_study
from diffurecsys.parameters.imports import read_imports
from diffurecsys.parameters.names import DATASET_NAME, unfit_names
from diffurecsys.parameters.sections import OTHERS, SECTIONS, Parameters, PreprocessingParameters
from diffurecsys.parameters.splitting import SplitParameters
from diffurecsys.parameters.varied import unfit_spaces
from diffurecsys.serving.settings import BEST, FINAL
from diffurecsys.study import Study
from diffurecsys.tuning.space import space_problems


def validate_parameters(raw: Mapping[str, Any]) -> Parameters:
    """Turn parameters as loaded from conf into their types.

    Raises:
        ParameterError: one line for each parameter that is unknown, missing or impossible.
    """
    problems: list[str] = []
    known = [*SECTIONS, *OTHERS]
    for name in raw:
        if name not in known:
            problems.append(unknown(str(name), "", known))
    if isinstance(raw.get("split"), str):
        raw = {**raw, "split": {"protocol": raw["split"]}}
    parts = {name: typed(kind, raw.get(name), name, problems) for name, kind in SECTIONS.items()}
    experiment = plain(raw, "experiment", str, problems)
    threads = plain(raw, "threads", int, problems, optional=True)
    if isinstance(threads, int) and threads < 1:
        problems.append(f"threads: must be at least 1, got {threads}")
    study = read_study(parts["study"], raw.get("models") or {}, read_imports(raw, problems), problems)
    if study is not None:
        for name, field_name in (("probes", "probed"), ("maps", "mapped")):
            section: Any = parts[name]
            if section is not None:
                problems += unknown_rankers(section.rankers or (), f"{name}.rankers", study.names)
                study = dataclasses.replace(study, **{field_name: section.rankers})
        if (tuning := parts["tuning"]) is not None:
            problems += unknown_rankers(tuning.rankers or (), "tuning.rankers", study.names)
            problems += space_problems(tuning, study) or unfit_spaces(tuning, study)
    if study is not None:
        for name, special in (("recommend", (BEST, FINAL)), ("final_fit", (BEST,))):
            use: Any = parts[name]
            if use is not None:
                problems += unknown_rankers((use.model,), f"{name}.model", (*special, *study.names))
    if study is not None and (preprocessing := parts["preprocessing"]) is not None:
        problems += _too_long_histories(study, preprocessing.max_length)
    if parts["split"] and parts["preprocessing"]:
        problems += _looks_ahead(parts["split"], parts["preprocessing"])
    problems += unfit_names(experiment, raw.get("models"))
    problems += unfit_names(None, raw.get("import_ranks"), "import_ranks")
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ParameterError(f"the parameters in conf (or --params) are not valid:\n{lines}")
    return Parameters(**{**parts, "study": study, "experiment": experiment, "threads": threads})


def _too_long_histories(study: Study, max_length: int) -> list[str]:
    return [
        f"models.{spec.name}.network.max_length must be at least preprocessing.max_length ({max_length}), got {most}"
        for spec in study.specs_by_name.values()
        if (most := spec.network.capabilities.longest_history) is not None and most < max_length
    ]


def _looks_ahead(split: SplitParameters, preprocessing: PreprocessingParameters) -> list[str]:
    if split.protocol != TEMPORAL or preprocessing.duplicates != "last":
        return []
    return [
        "preprocessing.duplicates: last keeps an event or not by what happened later, which a temporal split must not "
        "know; choose keep or first"
    ]


PLACES = (
    "raw",
    "intermediate",
    "primary",
    "model_input",
    "models",
    "working",
    "model_output",
    "reporting",
    "imported_cells",
    "trials",
)


def check_dataset_name(shared: Mapping[str, Any]) -> None:
    """Check that the dataset an experiment's globals.yml names stands in datasets.yml.

    Raises:
        ParameterError: it is not there; which ones are. Or YAML or OmegaConf read a name otherwise than it is written.
    """
    for needed in ("experiment", "dataset"):
        if shared.get(needed) is None:
            raise ParameterError(f"the experiment's globals.yml names no {needed}: add a line `{needed}: …`")
    check_places(shared)
    written = shared.get("datasets", {})
    wrong = [key for key in written if not isinstance(key, str) or not DATASET_NAME.fullmatch(key)]
    name: Any = shared.get("dataset")
    if not isinstance(name, str):
        wrong.append(name)
    for key in wrong:
        raise ParameterError(
            f"globals.yml or datasets.yml name a dataset {key!r}: a name is text of letters, digits, - and _ "
            f"that YAML does not take for a number or a truth value; quote it ('{key}') or choose another"
        )
    known = sorted(written)
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
        raise ParameterError(f"globals.yml names the dataset {name!r}, which no datasets.yml describes; {hint}")


def check_same_dataset(shared: Mapping[str, Any], dataset: object) -> None:
    """Check that nothing but globals.yml chose the dataset: another name alone would only label the same files.

    Args:
        shared: what globals.yml holds, with the datasets' entries.
        dataset: the entry as parameters have it, what `--params` says included.

    Raises:
        ParameterError: its name is another one.
    """
    chosen = shared["datasets"][shared["dataset"]]
    if not isinstance(dataset, Mapping) or not isinstance(chosen, Mapping):
        return  # refused with the other parameters
    named = chosen.get("name")
    if dataset.get("name") != named:
        raise ParameterError(
            f"dataset.name is {dataset.get('name')!r}, but the experiment's globals.yml chose {named!r}, whose files "
            "would be read under that name: choose another experiment with --env, or name it in globals.yml"
        )


def check_places(shared: Mapping[str, Any]) -> None:
    """Check that every folder that globals.yml names is one, under a name that is known.

    Raises:
        ParameterError: a name is nearly one of them, or a place is no text or none that can be used.
    """
    for key, place in shared.items():
        if key not in PLACES:
            if isinstance(key, str) and (close := get_close_matches(key, PLACES, n=1, cutoff=0.85)):
                raise ParameterError(f"globals.yml: {key} names nothing; did you mean {close[0]}?")
        elif not isinstance(place, str) or not place.strip():
            raise ParameterError(f"globals.yml: {key} must be a folder, got {place!r}")
        elif place.lower().startswith("file:"):
            raise ParameterError(f"globals.yml: {key} is {place!r}: write the path alone")
