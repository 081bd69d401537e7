"""The sections of the parameters, as types: what each may say, and which values cannot be."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from diffurecsys.checks import at_least, device, each_once, one_of, within
from diffurecsys.data.specs import DatasetSpec, check_mirror
from diffurecsys.data.split import TRAINING
from diffurecsys.evaluation.ranks import ALL, RANKINGS, Ranking
from diffurecsys.models.imported import ImportedConfig
from diffurecsys.parameters.splitting import SplitParameters
from diffurecsys.serving.settings import FinalFitParameters, RecommendParameters
from diffurecsys.study import ROLES, FinalFitOn, Role, Study, Unfinished
from diffurecsys.tuning.space import TuningParameters


class Section:
    """A part of the parameters; unknown names in it are refused."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


@dataclass(frozen=True)
class DownloadParameters(Section):
    """How an archive is fetched.

    Attributes:
        mirror: address of a host, or a place of object storage, with the same paths; None is the real one, or what
            DIFFURECSYS_MIRROR says.
        retries: further tries after a failed one.
    """

    mirror: str | None = None
    retries: int = 4

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        at_least(self, 0, "retries")
        if self.mirror:
            check_mirror(self.mirror)


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
        n_resamples: draws of the bootstrap and of the randomisation test.
        confidence: level of all intervals.
        margin: relative difference below which two rankers are called equivalent.
        seed: of the draws.
    """

    n_resamples: int = 10_000
    confidence: float = 0.95
    margin: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        at_least(self, 100, "n_resamples")
        within(self, 1e-9, 1, "confidence", "margin")
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
        if list(self.length_quantiles) != sorted(set(self.length_quantiles)):
            raise ValueError(f"length_quantiles must ascend, each once, got {list(self.length_quantiles)}")


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
        each_once(self, "rankers", "ensemble_sizes", "reverse_steps")


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
        each_once(self, "rankers")


@dataclass(frozen=True)
class TrackingParameters(Section):
    """What a tracking store means to a run.

    Attributes:
        on_failure: where the store cannot be used, `warn` goes on without it, and a later run tracks what this one
            finishes; `error` stops.
    """

    on_failure: Literal["warn", "error"] = "warn"


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

    def __post_init__(self) -> None:
        """Refuse a sweep of nothing."""
        each_once(self, "rankers")
        if self.n_seeds and not (self.values and self.rankers):
            raise ValueError("values must hold at least one value, and rankers one ranker; n_seeds: 0 leaves it out")


@dataclass(frozen=True)
class StudyParameters(Section):
    """The grid.

    Attributes:
        rankers: entries of `models`, in the order of the report.
        n_seeds: seeds of each ranker that trains.
        references: every ranker is tested against these; none: all that train against each other and the others.
        sweeps: rankers trained again with other values of one parameter.
        final_fit_on: what all rankers learn from before the test targets are ranked, see `RankerSpec`.
        unfinished: `fit` trains every cell that is not finished; `leave_out` reports on those that are (without
            `--only-missing-outputs` a run fits the experiment's own anew, as ever).
    """

    rankers: tuple[str, ...]
    n_seeds: int = 5
    references: tuple[str, ...] = ()
    sweeps: dict[str, SweepParameters] = field(default_factory=dict)
    final_fit_on: FinalFitOn = TRAINING
    unfinished: Unfinished = "fit"

    def __post_init__(self) -> None:
        """Refuse a reference that is named twice."""
        each_once(self, "references")


@dataclass(frozen=True)
class Parameters:
    """All parameters of a study, and the study that they describe."""

    experiment: str
    dataset: DatasetSpec
    download: DownloadParameters
    study: Study
    preprocessing: PreprocessingParameters
    split: SplitParameters
    evaluation: EvaluationParameters
    significance: SignificanceParameters
    groups: GroupParameters
    probes: ProbeParameters
    maps: MapParameters
    tuning: TuningParameters
    recommend: RecommendParameters
    final_fit: FinalFitParameters
    tracking: TrackingParameters = field(default_factory=TrackingParameters)
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
    "split": SplitParameters,
    "evaluation": EvaluationParameters,
    "significance": SignificanceParameters,
    "groups": GroupParameters,
    "probes": ProbeParameters,
    "maps": MapParameters,
    "tuning": TuningParameters,
    "tracking": TrackingParameters,
    "recommend": RecommendParameters,
    "final_fit": FinalFitParameters,
}
OTHERS = ("experiment", "threads", "models", "import_ranks")
OF_USE = ("recommend", "final_fit")  # change no number of a study
