"""A study's results side by side: mean and standard deviation over seeds, and what they do not support."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any

import pandas as pd

from diffurecsys.columns import MODEL, SEED, SPLIT, SPLITS, TEST
from diffurecsys.evaluation.ranks import RANKINGS, Ranking
from diffurecsys.evaluation.significance.intervals import mean_interval
from diffurecsys.evaluation.significance.scores import ModelScores

ROLE = "role"
RANKING = "ranking"
METRIC = "metric"
VALUE = "value"
MEAN = "mean"
STD = "std"
LOW = "low"
HIGH = "high"
N_SEEDS = "n_seeds"

TRAINED = "model"  # values of ROLE, in the order of tables
CONTROL = "control"
BASELINE = "baseline"
ROLES = (TRAINED, CONTROL, BASELINE)

DECLARED_METRIC = "NDCG@10"
UNKNOWN = float("nan")

StudyScores = Mapping[tuple[str, Ranking], Sequence[ModelScores]]  # by split and ranking


@dataclass(frozen=True)
class Score:
    """A quantity over the seeds of one ranker.

    Attributes:
        mean: over the seeds; NaN where there is no value.
        std: sample standard deviation (ddof 1); NaN with fewer than two values.
        n_seeds: seeds averaged; 0 for a ranker that does not train.
        low: lower end of the mean's confidence interval, which counts users and seeds; NaN where unknown.
        high: upper end.
    """

    mean: float
    std: float
    n_seeds: int
    low: float = UNKNOWN
    high: float = UNKNOWN


@dataclass(frozen=True)
class Leaderboard:
    """Results of all rankers of a study but the sweeps': models, then controls, then baselines.

    Attributes:
        cells: one value a row: MODEL, ROLE, SEED, SPLIT, RANKING, METRIC, VALUE.
        scores: `cells` over seeds: MODEL, ROLE, SPLIT, RANKING, METRIC, MEAN, STD (ddof 1; NaN with one seed), LOW,
            HIGH, N_SEEDS (0 for rankers that do not train).
        training: seconds of training or counting: MODEL, MEAN, STD, N_SEEDS.
        ranking: the primary one, which is meant where none is named.
        devices: what was trained on.
    """

    cells: pd.DataFrame
    scores: pd.DataFrame
    training: pd.DataFrame
    ranking: Ranking
    devices: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All rankers, in order."""
        return tuple(str(name) for name in self.scores[MODEL].unique())

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models."""
        return self.with_role(TRAINED)

    @property
    def baselines(self) -> tuple[str, ...]:
        """Names of the baselines."""
        return self.with_role(BASELINE)

    @property
    def trained(self) -> tuple[str, ...]:
        """Names of the rankers that train, whatever their role."""
        return tuple(str(name) for name in self.scores.loc[self.scores[N_SEEDS] > 0, MODEL].unique())

    @property
    def rankings(self) -> tuple[Ranking, ...]:
        """Both rankings, the primary first."""
        return (self.ranking, *(other for other in RANKINGS if other != self.ranking))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in order."""
        return tuple(str(name) for name in self.scores[METRIC].unique())

    @property
    def declared(self) -> str:
        """The metric of warnings and verdicts: the declared one, or the first where it was not computed."""
        return DECLARED_METRIC if DECLARED_METRIC in self.metrics else self.metrics[0]

    def with_role(self, role: str) -> tuple[str, ...]:
        """Names of the rankers with a role, in order."""
        return tuple(str(name) for name in self.scores.loc[self.scores[ROLE] == role, MODEL].unique())

    def role(self, name: str) -> str:
        """Return a ranker's role."""
        return next(role for role in ROLES if name in self.with_role(role))

    def score(self, model: str, split: str, metric: str, ranking: Ranking | None = None) -> Score:
        """Return a metric of a ranker; NaN where it has none on this split.

        Raises:
            KeyError: there is no such ranker, split or metric.
        """
        found = self._chosen(self.scores, model, split, metric, ranking)
        if found.empty and model in self.names and metric in self.metrics and split in SPLITS:
            return Score(UNKNOWN, UNKNOWN, 0)  # imported ranks may be of the test split alone
        if found.empty:
            raise KeyError(f"the leaderboard has no {split} {metric} of {model!r}")
        return _score(found)

    def values(self, model: str, split: str, metric: str, ranking: Ranking | None = None) -> tuple[float, ...]:
        """Return a metric of every cell of a ranker, by seed."""
        return tuple(float(value) for value in self._chosen(self.cells, model, split, metric, ranking)[VALUE])

    @property
    def ordered(self) -> tuple[str, ...]:
        """Names of all rankers, the highest mean on test first."""
        return tuple(sorted(self.names, key=lambda name: -self.score(name, TEST, self.declared).mean))

    def best(self, names: Sequence[str], metric: str | None = None) -> str | None:
        """Return the one of `names` with the highest mean on test; the first of equals, None of none."""
        known = metric or self.declared
        return max(names, key=lambda name: self.score(name, TEST, known).mean, default=None)

    def training_seconds(self, model: str) -> Score:
        """Return what training or counting took; NaN where it was not measured."""
        found = self.training[self.training[MODEL] == model]
        return Score(UNKNOWN, UNKNOWN, 0) if found.empty else _score(found)

    def _chosen(
        self, table: pd.DataFrame, model: str, split: str, metric: str, ranking: Ranking | None
    ) -> pd.DataFrame:
        wanted = {MODEL: model, SPLIT: split, METRIC: metric, RANKING: ranking or self.ranking}
        chosen = pd.Series(True, index=table.index)
        for column, value in wanted.items():
            chosen &= table[column] == value
        return table[chosen]


def build_leaderboard(
    scores: StudyScores,
    study_cells: pd.DataFrame,
    *,
    ranking: Ranking,
    untrained: Collection[str] = (),
    confidence: float = 0.95,
) -> Leaderboard:
    """Sum up a study's results.

    Args:
        scores: by split and ranking, every ranker's metrics in the study's order.
        study_cells: what is known of each cell: MODEL, SEED, `role`, `seconds`, `device`, `cpu`.
        ranking: the primary one.
        untrained: rankers that do not train.
        confidence: of the intervals.

    Raises:
        ValueError: a ranker without cells.
    """
    roles = dict(zip(study_cells[MODEL], study_cells[ROLE], strict=True))
    cells, sums = [], []
    for (split, kind), models in scores.items():
        for model in models:
            if model.model not in roles:
                raise ValueError(f"there is no cell of {model.model}: collect the study again")
            for metric, values in model.values.items():
                key = {MODEL: model.model, ROLE: roles[model.model], SPLIT: split, RANKING: kind, METRIC: metric}
                by_seed = values.mean(axis=1)
                cells += [{**key, SEED: seed, VALUE: value} for seed, value in zip(model.seeds, by_seed, strict=True)]
                interval = mean_interval(values, confidence) if values.shape[1] > 1 else None
                sums.append(
                    {
                        **key,
                        MEAN: float(by_seed.mean()),
                        STD: float(by_seed.std(ddof=1)) if len(by_seed) > 1 else UNKNOWN,
                        LOW: interval.low if interval else UNKNOWN,
                        HIGH: interval.high if interval else UNKNOWN,
                        N_SEEDS: 0 if model.model in untrained else len(by_seed),
                    }
                )
    own = study_cells[study_cells[MODEL].isin({str(row[MODEL]) for row in sums})]
    trained = own[~own[MODEL].isin(list(untrained))]
    return Leaderboard(
        cells=_by_role(pd.DataFrame(cells)),
        scores=_by_role(pd.DataFrame(sums)),
        training=_over_seeds(own),
        ranking=ranking,
        devices=tuple(dict.fromkeys(hardware(row) for row in trained.to_dict("records"))),
    )


def hardware(cell: Mapping[Any, Any]) -> str:
    """Name what a cell was trained on: the processor's name where it was the processor."""
    device, cpu = cell.get("device"), cell.get("cpu")
    if not isinstance(device, str):
        return "unknown"
    return cpu if device == "cpu" and isinstance(cpu, str) and cpu else device


def find_warnings(leaderboard: Leaderboard) -> list[str]:
    """Return one sentence for everything that limits what the leaderboard says."""
    warnings = []
    metric = leaderboard.declared
    strongest = leaderboard.best(leaderboard.baselines, metric)
    if strongest is not None:
        warnings += _defeats(leaderboard, strongest, metric)
    seeds = {name: leaderboard.score(name, TEST, metric).n_seeds for name in leaderboard.trained}
    single = [name for name, count in seeds.items() if count < 2]
    if single:
        warnings.append(f"There is no standard deviation for {_join(single)}: fewer than 2 seeds.")
    if len(set(seeds.values())) > 1:
        counts = _join([f"{name} has {count}" for name, count in seeds.items()])
        warnings.append(f"The rankers were not trained with the same number of seeds: {counts}.")
    if len(leaderboard.devices) > 1:
        warnings.append(f"Training seconds are not comparable: training ran on {_join(leaderboard.devices)}.")
    return warnings


def cut(value: float, digits: int = 4) -> str:
    """Return a number cut off after some decimals, never rounded up.

    The twelfth decimal is rounded first, so that a sum that misses 0.0534 by a float's last bit is not cut to 0.0533.
    """
    return str(Decimal(f"{value:.12f}").quantize(Decimal(1).scaleb(-digits), rounding=ROUND_DOWN))


def _defeats(leaderboard: Leaderboard, baseline: str, metric: str) -> list[str]:
    """Name all models that are not ahead of the strongest baseline, in one sentence; none where all are."""
    theirs = leaderboard.score(baseline, TEST, metric).mean
    ours = {name: leaderboard.score(name, TEST, metric) for name in leaderboard.models}
    behind = {name: score for name, score in ours.items() if not score.mean > theirs}
    if not behind:
        return []
    digits = 4 if all(cut(score.mean) != cut(theirs) for score in behind.values()) else 8
    told = _join(
        [
            f"{name} {cut(score.mean, digits)} ({'1 seed' if score.n_seeds == 1 else f'mean of {score.n_seeds} seeds'})"
            for name, score in behind.items()
        ]
    )
    return [
        f"The strongest baseline, {baseline}, reaches {TEST} {metric} {cut(theirs, digits)}; not ahead of it: {told}."
    ]


def _by_role(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(ROLE, key=lambda roles: roles.map(ROLES.index), kind="stable", ignore_index=True)


def _over_seeds(cells: pd.DataFrame) -> pd.DataFrame:
    known = cells.astype({"seconds": "float64"}).dropna(subset="seconds")
    summary = known.groupby(MODEL, sort=False)["seconds"].agg(["mean", "std", "count"]).reset_index()
    return summary.rename(columns={"mean": MEAN, "std": STD, "count": N_SEEDS})


def _score(row: pd.DataFrame) -> Score:
    low, high = (float(row[name].iloc[0]) if name in row else UNKNOWN for name in (LOW, HIGH))
    return Score(float(row[MEAN].iloc[0]), float(row[STD].iloc[0]), int(row[N_SEEDS].iloc[0]), low, high)


def _join(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
