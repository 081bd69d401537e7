"""The parts of a report, each with sentences, tables and figures; parts without numbers are left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from diffurecsys.evaluation.inference import ENSEMBLE, STEPS, TRAINING_SEEDS
from diffurecsys.evaluation.leaderboard import DECLARED_METRIC, Leaderboard
from diffurecsys.reporting import paper_tables, study_tables, verdicts
from diffurecsys.reporting.paper import PaperResults, compare_with_paper
from diffurecsys.reporting.text_table import Table

FOREST, CURVES, GROUPS, STEPS_FIGURE = "Differences", "Training curves", "Groups of users", "Reverse steps"
ENSEMBLES, SWEEP, TARGETS, SAMPLES, ITEMS = (
    "Ensembles",
    "Weight of the noised target",
    "Reconstructed targets",
    "Samples of single users",
    "Item embeddings",
)


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes:
        title: its heading.
        sentences: what its numbers say.
        tables: its tables.
        figures: names of its figures.
    """

    title: str
    sentences: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Its name in links."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


@dataclass(frozen=True)
class StudyTables:
    """What the pipelines `significance` and `analysis` write.

    Attributes:
        comparisons: tests that pair users.
        seed_comparisons: tests of seed means.
        paper_tests: the paper's test.
        group_scores: metrics in groups.
        group_comparisons: tests in groups.
        inference: metrics of ensembles and by number of steps.
        probe_comparisons: tests of ensembles and steps.
        spread: how samples of one user differ.
        step_times: what steps take.
        beyond_accuracy: coverage, concentration, popularity.
        variance: where variance comes from.
        delta_sweep: other δ; empty without sweep.
    """

    comparisons: pd.DataFrame
    seed_comparisons: pd.DataFrame
    paper_tests: pd.DataFrame
    group_scores: pd.DataFrame
    group_comparisons: pd.DataFrame
    inference: pd.DataFrame
    probe_comparisons: pd.DataFrame
    spread: pd.DataFrame
    step_times: pd.DataFrame
    beyond_accuracy: pd.DataFrame
    variance: pd.DataFrame
    delta_sweep: pd.DataFrame


def headline(study: StudyTables) -> list[str]:
    """Return the verdicts that a reader should see first."""
    metric = _declared(study.comparisons)
    found = verdicts.model_verdicts(study.comparisons, metric)
    if len(study.delta_sweep):
        control = study.delta_sweep[
            (study.delta_sweep["delta"] == 0) | (study.delta_sweep["model"] == study.delta_sweep["base"])
        ]
        found += verdicts.sweep_verdicts(control, metric)
    return found


def study_sections(
    leaderboard: Leaderboard, paper: PaperResults | None, study: StudyTables | None
) -> Iterator[Section]:
    """Yield all parts for which there are numbers.

    Args:
        leaderboard: the study's results.
        paper: the paper's results on the dataset.
        study: tables of significance and analysis.
    """
    if paper:
        comparison = paper_tables.paper_comparison(leaderboard, paper)
        yield Section(
            "Against the paper",
            (*compare_with_paper(leaderboard, paper), *paper_tables.agreement(comparison)),
            (paper_tables.paper_comparison_table(comparison),),
        )
    times = paper_tables.training_times(leaderboard, paper)
    yield Section("Training", (), (paper_tables.training_times_table(times),), (CURVES,))
    if study is None:
        return
    models, metric = list(leaderboard.models), _declared(study.comparisons)
    yield _significance(study, paper, models)
    yield _groups(study, models, metric)
    yield _inference(study, models, metric)
    if len(study.delta_sweep):
        yield Section(
            "What the diffusion contributes",
            tuple(verdicts.sweep_verdicts(study.delta_sweep, metric)),
            (study_tables.sweep_table(study.delta_sweep, metric),),
            (SWEEP,),
        )
    yield Section(
        "Beyond accuracy", (), (study_tables.beyond_accuracy_table(study.beyond_accuracy, study.spread, models),)
    )
    yield Section("Representations", (), (), (TARGETS, SAMPLES, ITEMS))


def _significance(study: StudyTables, paper: PaperResults | None, models: list[str]) -> Section:
    tests = paper_tables.paper_tests_with_printed(study.paper_tests, paper)
    tables = [
        study_tables.comparison_table(study.comparisons),
        study_tables.seed_comparison_table(study.seed_comparisons),
    ]
    if len(tests):
        tables.append(paper_tables.paper_tests_table(tests))
    tables.append(study_tables.variance_table(study.variance, models))
    return Section("Significance", (), tuple(tables), (FOREST,))


def _groups(study: StudyTables, models: list[str], metric: str) -> Section:
    tables = [study_tables.group_table(study.group_scores, list(study.group_scores["model"].unique()), metric)]
    if len(models) > 1:
        tables.append(study_tables.group_comparison_table(study.group_comparisons, models, metric))
    return Section("Groups of users", (), tuple(tables), (GROUPS,))


def _inference(study: StudyTables, models: list[str], metric: str) -> Section:
    compared = study.probe_comparisons[study.probe_comparisons["model"].isin(models)]
    return Section(
        "Inference",
        (*verdicts.steps_verdicts(compared, metric), *verdicts.ensemble_verdicts(compared, metric)),
        tuple(
            study_tables.inference_table(study.inference, models, kind, metric)
            for kind in (STEPS, ENSEMBLE, TRAINING_SEEDS)
        ),
        (STEPS_FIGURE, ENSEMBLES),
    )


def _declared(comparisons: pd.DataFrame) -> str:
    """The metric of verdicts: the declared one, or the first where it was not computed."""
    known = list(comparisons["metric"].unique())
    return DECLARED_METRIC if DECLARED_METRIC in known else str(known[0])
