"""Typed parameters: what conf/**/parameters*.yml may say. Anything else is an error that names the parameter."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from diffurecsys.data.specs import DatasetSpec
from diffurecsys.errors import UserError
from diffurecsys.evaluation.baselines import BASELINES
from diffurecsys.models import MODELS
from diffurecsys.models.config import ModelConfig
from diffurecsys.study import Study, Sweep
from diffurecsys.training.config import TrainingConfig

STRICT = ConfigDict(extra="forbid")


class ParameterError(UserError, ValueError):
    """The configuration has parameters that do not exist, lacks one, or gives one a value that cannot be."""


@dataclass(frozen=True, config=STRICT)
class DatasetParameters(DatasetSpec):
    """Which archive, where it lies and what it must hold."""


@dataclass(frozen=True, config=STRICT)
class SweepParameters(Sweep):
    """Models trained again with other δ."""


@dataclass(frozen=True, config=STRICT)
class StudyParameters(Study):
    """The grid of models, seeds, baselines and controls."""

    sweep: SweepParameters = Field(default_factory=SweepParameters)

    def __post_init__(self) -> None:
        """Refuse names that no registry knows, and a study without anything to compare.

        Raises:
            ValueError: naming the unknown model or baseline and the known ones, or what is missing.
        """
        super().__post_init__()
        if len(self.models) + len(self.baselines) < 2:
            raise ValueError("study.models and study.baselines name one ranker in all: a study compares at least two")
        for kind, names, known in (
            ("models", self.models, MODELS),
            ("baselines", self.baselines, BASELINES),
            ("sweep.models", self.sweep.models, MODELS),
        ):
            for name in names:
                if name not in known:
                    raise ValueError(f"study.{kind} names {name!r}, which is none of {', '.join(known)}")


@dataclass(frozen=True, config=STRICT)
class DownloadParameters:
    """How an archive is fetched.

    Attributes:
        mirror: address of a host with the same paths; None is the real one, or what DIFFURECSYS_MIRROR says.
        retries: further tries after a failed one.
    """

    mirror: str | None = None
    retries: int = 4


@dataclass(frozen=True, config=STRICT)
class PreprocessingParameters:
    """From interactions to examples.

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


@dataclass(frozen=True, config=STRICT)
class EvaluationParameters:
    """How models are ranked.

    Attributes:
        cutoffs: the K of HR@K and NDCG@K.
        exclude_seen: leave items of the user's own past out of the ranking.
        reverse_steps: of the reverse process; None walks all.
        batch_size: users scored at once.
        device: `auto` is CUDA where there is one.
    """

    cutoffs: tuple[int, ...] = (5, 10, 20)
    exclude_seen: bool = False
    reverse_steps: int | None = None
    batch_size: int = 512
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        if not self.cutoffs or min(self.cutoffs) < 1:
            raise ValueError(f"evaluation.cutoffs must be positive numbers, got {self.cutoffs}")
        for name in ("reverse_steps", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"evaluation.{name} must be at least 1, got {value}")


@dataclass(frozen=True, config=STRICT)
class SignificanceParameters:
    """How differences are tested.

    Attributes:
        n_resamples: draws of the bootstrap and of the randomisation tests.
        confidence: level of all intervals.
        seed: of the draws.
    """

    n_resamples: Annotated[int, Field(ge=100)] = 10_000
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: int = 0


@dataclass(frozen=True, config=STRICT)
class GroupParameters:
    """Which users and items are looked at apart.

    Attributes:
        head_share: share of the catalogue that is the head, most popular items first.
        popularity: interactions counted for it: those of the training part, or all, as the paper does.
        length_quantiles: borders between the groups of users by history length.
    """

    head_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    popularity: Literal["training", "all"] = "training"
    length_quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True, config=STRICT)
class ProbeParameters:
    """How the inference of trained models is examined.

    Attributes:
        users: test users drawn for it; None takes all.
        ensemble_sizes: numbers M of sampling seeds whose distributions are averaged; the largest are drawn.
        reverse_steps: numbers of steps of the reverse process.
        top_k: length of the recommendation lists that are compared.
        seed: draws the users and the noise.
    """

    users: Annotated[int, Field(ge=2)] | None = 2000
    ensemble_sizes: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 2, 4, 8, 16)
    reverse_steps: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 2, 4, 8, 16, 32)
    top_k: Annotated[int, Field(ge=1)] = 20
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse ensembles without a single sample to compare them with.

        Raises:
            ValueError: naming the parameter, its value and what is needed.
        """
        if 1 not in self.ensemble_sizes or max(self.ensemble_sizes) < 2:
            raise ValueError(f"probes.ensemble_sizes must hold 1 and something larger, got {self.ensemble_sizes}")


@dataclass(frozen=True, config=STRICT)
class MapParameters:
    """How representations are drawn.

    Attributes:
        users: test users on the map of targets; None takes all.
        clusters: of k-means on the representations.
        perplexity: of t-SNE.
        sampled_users: users on the map of samples.
        samples: reverse processes for each of them.
        seed: draws users and noise, starts k-means and t-SNE.
    """

    users: Annotated[int, Field(ge=10)] | None = None
    clusters: Annotated[int, Field(ge=1)] = 8
    perplexity: Annotated[float, Field(gt=1)] = 30.0
    sampled_users: Annotated[int, Field(ge=1)] = 8
    samples: Annotated[int, Field(ge=2)] = 100
    seed: int = 0


@dataclass(frozen=True, config=STRICT)
class ModelParameters(ModelConfig):
    """Hyper-parameters of all models."""


@dataclass(frozen=True, config=STRICT)
class TrainingParameters(TrainingConfig):
    """How models are trained."""


@dataclass(frozen=True, config=STRICT)
class Parameters:
    """All parameters of a study."""

    experiment: str
    dataset: DatasetParameters
    download: DownloadParameters
    study: StudyParameters
    preprocessing: PreprocessingParameters
    model: ModelParameters
    training: TrainingParameters
    evaluation: EvaluationParameters
    significance: SignificanceParameters
    groups: GroupParameters
    probes: ProbeParameters
    maps: MapParameters
    threads: Annotated[int, Field(ge=1)] | None = None

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other.

        Raises:
            ValueError: naming the parameters and what to change.
        """
        if self.model.delta in self.study.sweep.deltas:
            raise ValueError(f"study.sweep.deltas must not hold model.delta ({self.model.delta}): it is trained anyway")
        longest, trained = max(self.probes.reverse_steps), self.model.diffusion_steps
        if longest > trained:
            raise ValueError(f"probes.reverse_steps must not exceed model.diffusion_steps ({trained}), got {longest}")


def validate_parameters(raw: Mapping[str, Any]) -> Parameters:
    """Turn parameters as loaded from conf into their types.

    Raises:
        ParameterError: one line for each parameter that is unknown, missing or impossible.
    """
    try:
        return TypeAdapter(Parameters).validate_python(raw)
    except ValidationError as error:
        lines = "\n".join(f"  {_explain(detail)}" for detail in error.errors())
        raise ParameterError(f"the parameters in conf (or --params) are not valid:\n{lines}") from None


def check_dataset_name(shared: Mapping[str, Any]) -> None:
    """Check that the dataset an experiment's globals.yml names stands in datasets.yml.

    Raises:
        ParameterError: it is not there; which ones are.
    """
    name, known = str(shared.get("dataset")), sorted(shared.get("datasets", {}))
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
        raise ParameterError(f"globals.yml names the dataset {name!r}, which no datasets.yml describes; {hint}")


def flatten(parameters: Parameters) -> dict[str, str]:
    """Return all single values under dotted names (`model.width`), as text."""
    return {name: str(value) for name, value in _leaves("", dataclasses.asdict(parameters))}


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - whatever YAML holds
    if not isinstance(value, Mapping):
        yield prefix, value
        return
    for key, inner in value.items():
        yield from _leaves(f"{prefix}.{key}" if prefix else str(key), inner)


def _explain(detail: ErrorDetails) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error":  # ours, which name the parameter
        return message
    *parents, last = (str(part) for part in detail["loc"])
    name = ".".join([*parents, last])
    if detail["type"] == "unexpected_keyword_argument":
        siblings = _field_names(parents)
        close = get_close_matches(last, siblings, n=1)
        hint = f"did you mean {'.'.join([*parents, close[0]])}?" if close else f"choose from {', '.join(siblings)}"
        return f"{name}: no such parameter; {hint}"
    if detail["type"] == "missing_argument":
        return f"{name}: missing"
    return f"{name}: {message} (got {detail['input']!r})"


def _field_names(parents: list[str]) -> list[str]:
    """Names of the parameters under `parents`, none where they are not known."""
    owner: Any = Parameters
    for parent in parents:
        fields = {field.name: field.type for field in dataclasses.fields(owner)}
        owner = globals().get(str(fields.get(parent)))
        if owner is None:
            return []
    return [field.name for field in dataclasses.fields(owner)]
