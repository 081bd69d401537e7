"""Typed parameters: what conf/**/parameters* may say. Anything else is an error that names the parameter."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from diffurecsys.checks import at_least, device, one_of, within
from diffurecsys.data.specs import DatasetSpec
from diffurecsys.data.split import TRAINING
from diffurecsys.errors import UserError
from diffurecsys.evaluation.ranks import ALL, RANKINGS, Ranking
from diffurecsys.models.base import Family, RankerConfig
from diffurecsys.models.imported import IMPORTED, ImportedConfig
from diffurecsys.models.registry import FamilyError, find_family
from diffurecsys.serving.settings import FinalFitParameters, RecommendParameters
from diffurecsys.study import ROLES, FinalFitOn, RankerSpec, Role, Study, Sweep
from diffurecsys.training.config import TrainingConfig

T = TypeVar("T")


class ParameterError(UserError, ValueError):
    """The configuration has parameters that do not exist, lacks one, or gives one a value that cannot be."""


class Section:
    """A part of the parameters; unknown names in it are refused."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


@dataclass(frozen=True)
class DownloadParameters(Section):
    """How an archive is fetched.

    Attributes:
        mirror: address of a host with the same paths; None is the real one, or what DIFFURECSYS_MIRROR says.
        retries: further tries after a failed one.
    """

    mirror: str | None = None
    retries: int = 4

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        at_least(self, 0, "retries")


@dataclass(frozen=True)
class PreprocessingParameters(Section):
    """From interactions to sequences and their split.

    Attributes:
        user_k: users with fewer interactions are removed.
        item_k: items with fewer interactions are removed.
        duplicates: what to do with repeated (user, item) pairs.
        max_length: histories keep their last items.
        on_mismatch: what to do when counts differ from the dataset's.
    """

    user_k: int = 5
    item_k: int = 5
    duplicates: Literal["keep", "first", "last"] = "keep"
    max_length: int = 100
    on_mismatch: Literal["error", "warn"] = "error"

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        at_least(self, 1, "user_k", "item_k", "max_length")


@dataclass(frozen=True)
class EvaluationParameters(Section):
    """How rankers are ranked.

    Attributes:
        cutoffs: the K of HR@K and NDCG@K.
        ranking: what tests, groups and figures speak of: `all` items, as the paper, or `unseen` ones, without the items
            that the user had before. Tables show both.
        batch_size: users scored at once.
        device: `auto` is CUDA where there is one.
    """

    cutoffs: tuple[int, ...] = (5, 10, 20)
    ranking: Ranking = ALL
    batch_size: int = 512
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if not self.cutoffs or min(self.cutoffs) < 1 or len(set(self.cutoffs)) < len(self.cutoffs):
            raise ValueError(f"cutoffs must be positive numbers, each once, got {list(self.cutoffs)}")
        one_of(self, RANKINGS, "ranking")
        device(self, "device")
        at_least(self, 1, "batch_size")


@dataclass(frozen=True)
class SignificanceParameters(Section):
    """How differences are tested.

    Attributes:
        n_resamples: draws of the bootstrap and of the randomisation tests.
        confidence: level of all intervals.
        seed: of the draws.
    """

    n_resamples: int = 10_000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        at_least(self, 100, "n_resamples")
        within(self, 1e-9, 1, "confidence")
        at_least(self, 0, "seed")


@dataclass(frozen=True)
class GroupParameters(Section):
    """Which users and items are looked at apart.

    Attributes:
        head_share: share of the catalogue that is the head, most popular items first.
        popularity: interactions counted for it: those of the training part, or all, as the paper does.
        length_quantiles: borders between the groups of users by history length.
    """

    head_share: float = 0.2
    popularity: Literal["training", "all"] = "training"
    length_quantiles: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        within(self, 1e-9, 1, "head_share")
        if not all(0 < quantile < 1 for quantile in self.length_quantiles):
            raise ValueError(f"length_quantiles must lie between 0 and 1, got {list(self.length_quantiles)}")


@dataclass(frozen=True)
class ProbeParameters(Section):
    """How the inference of trained rankers is examined.

    Attributes:
        rankers: which are examined; None: all that draw samples or walk reverse steps.
        users: test users drawn for it; None takes all.
        ensemble_sizes: numbers M of sampling seeds whose distributions are averaged; the largest are drawn.
        reverse_steps: numbers of steps of the reverse process; each ranker walks those that it has.
        top_k: length of the recommendation lists that are compared.
        seed: draws the users and the noise.
    """

    rankers: tuple[str, ...] | None = None
    users: int | None = 2000
    ensemble_sizes: tuple[int, ...] = (1, 2, 4, 8, 16)
    reverse_steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    top_k: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot work, such as ensembles without a single sample to compare them with."""
        at_least(self, 2, "users")
        at_least(self, 1, "top_k")
        at_least(self, 0, "seed")
        if 1 not in self.ensemble_sizes or max(self.ensemble_sizes) < 2 or min(self.ensemble_sizes) < 1:
            raise ValueError(f"ensemble_sizes must hold 1 and something larger, got {list(self.ensemble_sizes)}")
        if not self.reverse_steps or min(self.reverse_steps) < 1:
            raise ValueError(f"reverse_steps must be positive numbers, got {list(self.reverse_steps)}")


@dataclass(frozen=True)
class MapParameters(Section):
    """How representations are drawn.

    Attributes:
        rankers: which are drawn; None: all of the role `model` that have vectors.
        users: test users on the map of targets; None takes all.
        clusters: of k-means on the representations.
        perplexity: of t-SNE.
        sampled_users: users on the map of samples.
        samples: reverse processes for each of them.
        seed: draws users and noise, starts k-means and t-SNE.
    """

    rankers: tuple[str, ...] | None = None
    users: int | None = None
    clusters: int = 8
    perplexity: float = 30.0
    sampled_users: int = 8
    samples: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        at_least(self, 10, "users")
        at_least(self, 1, "clusters", "sampled_users")
        at_least(self, 1 + 1e-9, "perplexity")
        at_least(self, 2, "samples")
        at_least(self, 0, "seed")


@dataclass(frozen=True)
class RankerParameters(Section):
    """One entry of `models`.

    Attributes:
        family: what kind of ranker it is.
        role: its section in tables.
        network: what differs from the family's defaults.
        training: what differs from the defaults of training.
        n_seeds: in place of `study.n_seeds`.
    """

    family: str
    role: Role = "model"
    network: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    n_seeds: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        one_of(self, ROLES, "role")
        at_least(self, 1, "n_seeds")


@dataclass(frozen=True)
class ImportParameters(Section):
    """One entry of `import_ranks`: a ranker of another tool, see `diffurecsys.evaluation.imported_ranks`.

    Attributes:
        file: CSV or Parquet, in data/01_raw/cells/<experiment>.
        role: its section in tables.
    """

    file: str
    role: Role = "baseline"

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        ImportedConfig(self.file)


@dataclass(frozen=True)
class SweepParameters(Section):
    """One entry of `study.sweeps`, see `diffurecsys.study.Sweep`."""

    rankers: tuple[str, ...]
    parameter: str
    values: tuple[Any, ...]
    n_seeds: int = 1


@dataclass(frozen=True)
class StudyParameters(Section):
    """The grid.

    Attributes:
        rankers: entries of `models`, in the order of the report.
        n_seeds: seeds of each ranker that trains.
        references: every ranker is tested against these; none: all that train against each other and the others.
        sweeps: rankers trained again with other values of one parameter.
        final_fit_on: what all rankers learn from before the test targets are ranked, see `RankerSpec`.
    """

    rankers: tuple[str, ...]
    n_seeds: int = 5
    references: tuple[str, ...] = ()
    sweeps: dict[str, SweepParameters] = field(default_factory=dict)
    final_fit_on: FinalFitOn = TRAINING


@dataclass(frozen=True)
class Parameters:
    """All parameters of a study, and the study that they describe."""

    experiment: str
    dataset: DatasetSpec
    download: DownloadParameters
    study: Study
    preprocessing: PreprocessingParameters
    evaluation: EvaluationParameters
    significance: SignificanceParameters
    groups: GroupParameters
    probes: ProbeParameters
    maps: MapParameters
    recommend: RecommendParameters
    final_fit: FinalFitParameters
    threads: int | None = None

    @property
    def sections(self) -> dict[str, Any]:
        """Every part by its name."""
        return {part.name: getattr(self, part.name) for part in dataclasses.fields(self)}


SECTIONS: dict[str, type[Any]] = {
    "dataset": DatasetSpec,
    "download": DownloadParameters,
    "study": StudyParameters,
    "preprocessing": PreprocessingParameters,
    "evaluation": EvaluationParameters,
    "significance": SignificanceParameters,
    "groups": GroupParameters,
    "probes": ProbeParameters,
    "maps": MapParameters,
    "recommend": RecommendParameters,
    "final_fit": FinalFitParameters,
}
OTHERS = ("experiment", "threads", "models", "import_ranks")
OF_USE = ("recommend", "final_fit")  # change no number of a study


def validate_parameters(raw: Mapping[str, Any]) -> Parameters:
    """Turn parameters as loaded from conf into their types.

    Raises:
        ParameterError: one line for each parameter that is unknown, missing or impossible.
    """
    problems: list[str] = []
    known = [*SECTIONS, *OTHERS]
    for name in raw:
        if name not in known:
            problems.append(_unknown(str(name), "", known))
    parts = {name: _typed(kind, raw.get(name), name, problems) for name, kind in SECTIONS.items()}
    experiment = _plain(raw, "experiment", str, problems)
    threads = _plain(raw, "threads", int, problems, optional=True)
    if threads is not None and threads < 1:
        problems.append(f"threads: must be at least 1, got {threads}")
    study = _study(parts["study"], raw.get("models") or {}, _imports(raw, problems), problems)
    if study is not None:
        for name, field_name in (("probes", "probed"), ("maps", "mapped")):
            section: Any = parts[name]
            if section is not None:
                problems += _unknown_rankers(section.rankers or (), f"{name}.rankers", study.names)
                study = dataclasses.replace(study, **{field_name: section.rankers})
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ParameterError(f"the parameters in conf (or --params) are not valid:\n{lines}")
    return Parameters(**{**parts, "study": study, "experiment": experiment, "threads": threads})


def check_dataset_name(shared: Mapping[str, Any]) -> None:
    """Check that the dataset an experiment's globals.yml names stands in datasets.yml.

    Raises:
        ParameterError: it is not there; which ones are.
    """
    name, known = str(shared.get("dataset")), sorted(str(key) for key in shared.get("datasets", {}))
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
        raise ParameterError(f"globals.yml names the dataset {name!r}, which no datasets.yml describes; {hint}")


def flatten(values: Any, prefix: str = "") -> dict[str, str]:  # noqa: ANN401 - dataclasses and mappings of anything
    """Return all single values of nested dataclasses and mappings under dotted names (`network.width`), as text."""
    if dataclasses.is_dataclass(values) and not isinstance(values, type):
        values = {part.name: getattr(values, part.name) for part in dataclasses.fields(values)}
    if not isinstance(values, Mapping):
        return {prefix: str(values)}
    found: dict[str, str] = {}
    for name, value in values.items():
        found |= flatten(value, f"{prefix}.{name}" if prefix else str(name))
    return found


def _imports(raw: Mapping[str, Any], problems: list[str]) -> list[RankerSpec]:
    """Make rankers of the tables that other tools wrote."""
    entries, found = raw.get("import_ranks") or {}, []
    if not isinstance(entries, Mapping):
        problems.append(f"import_ranks: must map names to files (got {entries!r})")
        return []
    for name, entry in entries.items():
        known = _typed(ImportParameters, entry, f"import_ranks.{name}", problems)
        if str(name) in (raw.get("models") or {}):
            problems.append(f"import_ranks.{name}: there is a ranker of this name in models; choose another")
        elif known is not None:
            found.append(RankerSpec(str(name), IMPORTED, known.role, ImportedConfig(known.file), TrainingConfig()))
    return found


def with_digests(parameters: Parameters, folder: Path) -> Parameters:
    """Put the digests of imported tables into their rankers, so that another file is another ranker.

    Args:
        parameters: as validated.
        folder: where the tables lie.

    Raises:
        ParameterError: a table is not there.
    """
    specs = []
    for spec in parameters.study.specs:
        network = spec.network
        if isinstance(network, ImportedConfig):
            path = folder / network.file
            if not path.is_file():
                raise ParameterError(f"import_ranks.{spec.name}.file: there is no file {path}")
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            spec = dataclasses.replace(spec, network=dataclasses.replace(network, digest=digest))
        specs.append(spec)
    return dataclasses.replace(parameters, study=dataclasses.replace(parameters.study, specs=tuple(specs)))


def _study(
    parameters: StudyParameters | None,
    models: Any,  # noqa: ANN401
    imports: list[RankerSpec],
    problems: list[str],
) -> Study | None:
    """Put the grid together; every entry of `models` is checked, whether or not the study names it."""
    if not isinstance(models, Mapping):
        problems.append(f"models: must map names to rankers (got {models!r})")
        return None
    found = {str(name): _ranker(str(name), entry, problems) for name, entry in models.items()}
    if parameters is None:
        return None
    named = _unknown_rankers(parameters.rankers, "study.rankers", list(found))
    sweeps: dict[str, Sweep] = {}
    for name, sweep in parameters.sweeps.items():
        named += _unknown_rankers(sweep.rankers, f"study.sweeps.{name}.rankers", list(found))
        sweeps[name] = Sweep(sweep.rankers, sweep.parameter, sweep.values, sweep.n_seeds)
    problems += named
    ready = {name: entry for name, entry in found.items() if entry is not None}
    if named or any(name not in ready for name in parameters.rankers):
        return None
    seeds = {name: count for name in parameters.rankers if (count := ready[name][1]) is not None}
    specs = tuple(
        dataclasses.replace(ready[name][0], final_fit_on=parameters.final_fit_on) for name in parameters.rankers
    )
    specs += tuple(dataclasses.replace(spec, final_fit_on=parameters.final_fit_on) for spec in imports)
    try:
        return Study(specs, parameters.n_seeds, seeds, parameters.references, sweeps)
    except ValueError as error:
        problems.append(str(error))
        return None


def _ranker(name: str, raw: Any, problems: list[str]) -> tuple[RankerSpec, int | None] | None:  # noqa: ANN401
    """Check one entry of `models` by the family that it names."""
    path = f"models.{name}"
    entry = _typed(RankerParameters, raw, path, problems)
    if entry is None:
        return None
    try:
        family = find_family(entry.family)
    except FamilyError as error:
        problems.append(f"{path}.family: {error}")
        return None
    network = _network(family, entry.network, f"{path}.network", problems)
    training = _typed(TrainingConfig, entry.training, f"{path}.training", problems)
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
    return _typed(family.config, values, path, problems)


def _typed(kind: type[T], raw: Any, path: str, problems: list[str]) -> T | None:  # noqa: ANN401
    """Make a `kind` of plain values; None where that cannot be, and `problems` says why."""
    try:
        return TypeAdapter(kind).validate_python({} if raw is None else raw)
    except ValidationError as error:
        problems += [_explain(detail, path, kind) for detail in error.errors()]
        return None


def _plain(raw: Mapping[str, Any], name: str, kind: type[T], problems: list[str], *, optional: bool = False) -> Any:  # noqa: ANN401
    value = raw.get(name)
    if value is None and optional:
        return None
    if not isinstance(value, kind) or isinstance(value, bool):
        problems.append(f"{name}: must be {'text' if kind is str else 'a whole number'} (got {value!r})")
    return value


def _explain(detail: ErrorDetails, path: str, kind: type[Any]) -> str:
    place = [str(part) for part in detail["loc"]]
    name = ".".join([path, *place])
    if detail["type"] == "value_error":  # ours, which begin with the field's name
        return f"{name}.{detail['msg'].removeprefix('Value error, ')}"
    if detail["type"] == "unexpected_keyword_argument":
        return _unknown(place[-1], ".".join([path, *place[:-1]]), _field_names(kind, place[:-1]))
    if detail["type"] in ("missing_argument", "missing"):
        return f"{name}: missing"
    message = detail["msg"].replace("valid tuple", "list").replace("valid dictionary", "mapping of names to values")
    if detail["type"] == "dataclass_type":
        message = "should be a mapping of names to values"
    return f"{name}: {message} (got {detail['input']!r})"


def _unknown(name: str, parent: str, siblings: list[str]) -> str:
    close = get_close_matches(name, siblings, n=1)
    under = f"{parent}." if parent else ""
    hint = f"did you mean {under}{close[0]}?" if close else f"choose from {', '.join(siblings)}"
    return f"{under}{name}: no such parameter; {hint}"


def _unknown_rankers(names: tuple[str, ...], path: str, known: Any) -> list[str]:  # noqa: ANN401
    problems = []
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
            problems.append(f"{path}: no ranker {name!r}; {hint}")
    return problems


def _field_names(kind: type[Any], parents: list[str]) -> list[str]:
    """Names of the parameters under `parents` of `kind`, none where they are not known."""
    owner: Any = kind
    for parent in parents:
        if not dataclasses.is_dataclass(owner):
            return []
        types = {part.name: part.type for part in dataclasses.fields(owner)}
        owner = {"dict[str, SweepParameters]": SweepParameters}.get(str(types.get(parent)), owner)
    return [part.name for part in dataclasses.fields(owner)] if dataclasses.is_dataclass(owner) else []


def leaves(parameters: Parameters) -> Iterator[tuple[str, str]]:
    """Yield every single value that belongs to the study as a whole, under its dotted name."""
    for name, section in parameters.sections.items():
        if name in OF_USE:
            continue
        if name == "study":
            study = parameters.study
            yield "study.rankers", ", ".join(study.names)
            yield "study.n_seeds", str(study.n_seeds)
            yield "study.references", ", ".join(study.references)
            yield "study.final_fit_on", study.final_fit_on
        else:
            yield from flatten(section, name).items()
