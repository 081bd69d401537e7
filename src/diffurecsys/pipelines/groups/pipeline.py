"""Groups: rankers on users whose targets or histories are alike."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node

from diffurecsys.pipelines.boxes import box
from diffurecsys.pipelines.conventions import ALWAYS
from diffurecsys.pipelines.groups.nodes import score_groups
from diffurecsys.study import Study


def create_pipeline(study: Study) -> Pipeline:
    """Score all rankers in groups of test users, and test the study's pairs there."""
    groups = node(
        score_groups,
        inputs={
            "study": "params:study",
            "evaluation": "params:evaluation",
            "significance": "params:significance",
            "groups": "params:groups",
            "data": "split",
            "study_ranks": "study_ranks",
        },
        outputs=["group_scores_table", "group_comparisons_table"],
        name="score_groups",
        tags=ALWAYS,
    )
    return box([groups], "groups")
