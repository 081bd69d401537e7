"""A study's results side by side: mean and standard deviation over seeds, and what they do not support."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from math import isfinite
from typing import Any

import pandas as pd

MODEL = "model"
KIND = "kind"
SEED = "seed"
SPLIT = "split"
METRIC = "metric"
VALUE = "value"
MEAN = "mean"
STD = "std"
N_SEEDS = "n_seeds"

TRAINED = "model"  # values of KIND
BASELINE = "baseline"

TEST = "test"  # values of SPLIT
VALIDATION = "validation"
SPLITS = (TEST, VALIDATION)

DECLARED_METRIC = "NDCG@10"

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Score:
    """A quantity over the seeds of one model.

    Attributes:
        mean: over the seeds; NaN where there is no value.
        std: sample standard deviation (ddof 1); NaN with fewer than two values.
        n_seeds: seeds averaged; 0 for a baseline, which draws nothing.
    """

    mean: float
    std: float
    n_seeds: int


@dataclass(frozen=True)
class Leaderboard:
    """Results of all models and baselines of a study, in the study's order: models, then baselines.

    Attributes:
        cells: one value a row: MODEL, KIND, SEED (missing for baselines), SPLIT, METRIC, VALUE.
        scores: `cells` over seeds: MODEL, KIND, SPLIT, METRIC, MEAN, STD (ddof 1; NaN with one seed), N_SEEDS (0 for
            baselines).
        training: seconds of training of the trained models: MODEL, MEAN, STD, N_SEEDS.
        exclude_seen: whether items that the user had before were left out of the rankings.
        devices: what the models were trained on.
    """

    cells: pd.DataFrame
    scores: pd.DataFrame
    training: pd.DataFrame
    exclude_seen: bool
    devices: tuple[str, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the trained models."""
        return self._names(TRAINED)

    @property
    def baselines(self) -> tuple[str, ...]:
        """Names of the baselines."""
        return self._names(BASELINE)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in the results' order."""
        return tuple(str(name) for name in self.scores[METRIC].unique())

    def score(self, model: str, split: str, metric: str) -> Score:
        """Return a metric of a model or baseline.

        Raises:
            KeyError: there is no such model, split or metric.
        """
        found = self.scores[
            (self.scores[MODEL] == model) & (self.scores[SPLIT] == split) & (self.scores[METRIC] == metric)
        ]
        if found.empty:
            raise KeyError(f"the leaderboard has no {split} {metric} of {model!r}")
        return _score(found)

    def values(self, model: str, split: str, metric: str) -> tuple[float, ...]:
        """Return a metric of every cell of a model or baseline, by seed."""
        cells = self.cells
        chosen = cells[(cells[MODEL] == model) & (cells[SPLIT] == split) & (cells[METRIC] == metric)]
        return tuple(float(value) for value in chosen[VALUE])

    def training_seconds(self, model: str) -> Score:
        """Return what training a model took; NaN for a baseline and where it was not measured."""
        found = self.training[self.training[MODEL] == model]
        return Score(float("nan"), float("nan"), 0) if found.empty else _score(found)

    def _names(self, kind: str) -> tuple[str, ...]:
        return tuple(str(name) for name in self.scores.loc[self.scores[KIND] == kind, MODEL].unique())


def build_leaderboard(
    results: Iterable[Result], *, models: Sequence[str], baselines: Sequence[str] = ()
) -> Leaderboard:
    """Sum up a study's results.

    Args:
        results: one record a (model, seed) cell: `model`, `seed` (None for a baseline), `exclude_seen`,
            `training_seconds` (or None), `validation` and `test` (metrics by name), and `device` for trained models.
        models: trained models in the study's order.
        baselines: baselines in the study's order.

    Raises:
        ValueError: a model without results, a result of no model of the study, a cell twice, cells that were not
            evaluated alike, or a metric that is not a finite number.
    """
    kinds = {**dict.fromkeys(models, TRAINED), **dict.fromkeys(baselines, BASELINE)}
    ordered = _in_order(list(results), list(kinds))
    _check_alike(ordered)
    cells = pd.DataFrame(
        [
            {
                MODEL: result[MODEL],
                KIND: kinds[result[MODEL]],
                SEED: result[SEED],
                SPLIT: split,
                METRIC: name,
                VALUE: value,
            }
            for result in ordered
            for split in SPLITS
            for name, value in result[split].items()
        ]
    ).astype({SEED: "Int64", VALUE: "float64"})
    trained = [result for result in ordered if kinds[result[MODEL]] == TRAINED]
    seconds = pd.DataFrame(
        {
            MODEL: [result[MODEL] for result in trained],
            SEED: [result[SEED] for result in trained],
            VALUE: [result["training_seconds"] for result in trained],
        }
    ).astype({SEED: "Int64", VALUE: "float64"})
    return Leaderboard(
        cells=cells,
        scores=_over_seeds(cells, [MODEL, KIND, SPLIT, METRIC]),
        training=_over_seeds(seconds.dropna(subset=VALUE), [MODEL]),
        exclude_seen=bool(ordered[0]["exclude_seen"]),
        devices=tuple(dict.fromkeys(str(result["device"]) for result in trained if result.get("device"))),
    )


def find_warnings(leaderboard: Leaderboard, *, metric: str = DECLARED_METRIC) -> list[str]:
    """Return one sentence for everything that limits what the leaderboard says.

    Args:
        leaderboard: the study's results.
        metric: on which a trained model has to beat every baseline, on test and on validation.
    """
    warnings = []
    if metric in leaderboard.metrics:
        warnings += [
            sentence
            for model in leaderboard.models
            for split in SPLITS
            for baseline in leaderboard.baselines
            if (sentence := _defeat(leaderboard, model, baseline, split, metric))
        ]
    else:
        warnings.append(f"The models were not compared with the baselines: {metric} was not computed.")
    seeds = {model: leaderboard.score(model, TEST, leaderboard.metrics[0]).n_seeds for model in leaderboard.models}
    single = [model for model, count in seeds.items() if count < 2]
    if single:
        warnings.append(f"There is no standard deviation for {_join(single)}: fewer than 2 seeds.")
    if len(set(seeds.values())) > 1:
        counts = _join([f"{model} has {count}" for model, count in seeds.items()])
        warnings.append(f"The models were not trained with the same number of seeds: {counts}.")
    if len(leaderboard.devices) > 1:
        warnings.append(
            f"Training seconds are not comparable: the models were trained on {_join(leaderboard.devices)}."
        )
    return warnings


def cut(value: float, digits: int = 4) -> str:
    """Return a number cut off after some decimals, never rounded up.

    The twelfth decimal is rounded first, so that a sum that misses 0.0534 by a float's last bit is not cut to 0.0533.
    """
    return str(Decimal(f"{value:.12f}").quantize(Decimal(1).scaleb(-digits), rounding=ROUND_DOWN))


def _defeat(leaderboard: Leaderboard, model: str, baseline: str, split: str, metric: str) -> str | None:
    ours, theirs = leaderboard.score(model, split, metric), leaderboard.score(baseline, split, metric)
    if ours.mean > theirs.mean:
        return None
    digits = 4 if cut(ours.mean) != cut(theirs.mean) else 8
    over = "1 seed" if ours.n_seeds == 1 else f"mean of {ours.n_seeds} seeds"
    return (
        f"{model} does not beat the baseline {baseline} on {split} {metric}: "
        f"{cut(ours.mean, digits)} ({over}) against {cut(theirs.mean, digits)}."
    )


def _in_order(results: list[Result], names: list[str]) -> list[Result]:
    found = [(str(result[MODEL]), result[SEED]) for result in results]
    for name, _ in found:
        if name not in names:
            raise ValueError(f"there is a result of {name!r}, which is not in the study ({', '.join(names)})")
    missing = [name for name in names if name not in dict(found)]
    if missing or not results:
        raise ValueError(f"there is no result of {_join(missing) or 'any model'}: evaluate before summing up")
    repeated = sorted({f"{name}, seed {seed}" for name, seed in found if found.count((name, seed)) > 1})
    if repeated:
        raise ValueError(f"more than one result of the same cell: {'; '.join(repeated)}")
    return sorted(
        results, key=lambda result: (names.index(result[MODEL]), -1 if result[SEED] is None else result[SEED])
    )


def _check_alike(results: list[Result]) -> None:
    first = results[0]
    for result in results:
        if result["exclude_seen"] != first["exclude_seen"]:
            raise ValueError(
                f"{_cell(first)} was evaluated with exclude_seen={first['exclude_seen']}, {_cell(result)} with "
                f"exclude_seen={result['exclude_seen']}: such numbers cannot be compared, evaluate all cells alike"
            )
        for split in SPLITS:
            if set(result[split]) != set(first[SPLITS[0]]):
                raise ValueError(
                    f"{_cell(result)} has the {split} metrics {list(result[split])}, {_cell(first)} has "
                    f"{list(first[SPLITS[0]])}: evaluate all cells with the same cut-offs"
                )
            for name, value in result[split].items():
                if value is None or not isfinite(value):
                    raise ValueError(f"{split} {name} of {_cell(result)} is {value}: evaluate that cell again")


def _over_seeds(cells: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    summary = cells.groupby(keys, sort=False).agg(
        **{MEAN: (VALUE, "mean"), STD: (VALUE, "std"), N_SEEDS: (SEED, "count")}
    )
    return summary.reset_index()


def _score(row: pd.DataFrame) -> Score:
    return Score(float(row[MEAN].iloc[0]), float(row[STD].iloc[0]), int(row[N_SEEDS].iloc[0]))


def _cell(result: Result) -> str:
    return str(result[MODEL]) if result[SEED] is None else f"{result[MODEL]} (seed {result[SEED]})"


def _join(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
