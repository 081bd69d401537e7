"""Tuning: the same number of trials for every ranker, judged on validation targets alone."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.pipelines.boxes import safe
from diffurecsys.pipelines.conventions import ALWAYS
from diffurecsys.pipelines.tuning.nodes import plan_trials, sum_up_tuning, tune_ranker, write_settings
from diffurecsys.study import RankerSpec, Study
from diffurecsys.tuning.space import TuningParameters

SHARED = ("split", "planned_trials", "tuning_store", "trials_folder")


def create_plan() -> Pipeline:
    """Draw all trials' settings."""
    return pipeline(
        [
            node(
                plan_trials,
                inputs=["params:study", "params:tuning", "split", "tuning_store", "trials_folder"],
                outputs="planned_trials",
                name="plan_trials",
                tags=ALWAYS,
            )
        ]
    )


def create_pipeline(study: Study, tuning: TuningParameters) -> Pipeline:
    """Make the trials of every ranker that is tuned, and sum them up."""
    specs = tuning.tuned(study)
    trials = {safe(f"{namespace(spec)}.trials"): f"{namespace(spec)}.trials" for spec in specs}
    summary = node(
        sum_up_tuning,
        inputs={"study": "params:study", "tuning": "params:tuning", **trials},
        outputs=["tuning_table", "tuning_trials_table", "tuning_figure"],
        name="sum_up_tuning",
        tags=ALWAYS,
    )
    return Pipeline([*(_ranker(spec) for spec in specs), *([summary] if specs else [])])


def namespace(spec: RankerSpec) -> str:
    """Name the box of a ranker's search."""
    return f"tune.{spec.name}"


def _ranker(spec: RankerSpec) -> Pipeline:
    base = pipeline(
        [
            node(
                tune_ranker,
                inputs=["params:spec", "params:tuning", "planned_trials", "split", "tuning_store", "trials_folder"],
                outputs="trials",
                name="tune_ranker",
                tags=ALWAYS,
            ),
            node(
                write_settings,
                inputs=["params:spec", "params:tuning", "params:dataset", "params:run", "trials"],
                outputs="settings",
                name="write_settings",
                tags=ALWAYS,
            ),
        ]
    )
    return pipeline(
        base,
        namespace=namespace(spec),
        inputs=set(SHARED),
        parameters={"params:tuning", "params:dataset", "params:run"},
    )
