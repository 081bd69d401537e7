"""Significance: which differences between rankers the numbers support."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node

from diffurecsys.pipelines.boxes import box
from diffurecsys.pipelines.conventions import ALWAYS
from diffurecsys.pipelines.significance.nodes import compare_users_and_seeds, papers_pairs, run_papers_test
from diffurecsys.study import Study


def create_pipeline(study: Study) -> Pipeline:
    """Test the study's pairs; repeat the paper's test where its models are."""
    nodes = [
        node(
            compare_users_and_seeds,
            inputs={
                "study": "params:study",
                "evaluation": "params:evaluation",
                "significance": "params:significance",
                "study_ranks": "study_ranks",
            },
            outputs=["comparisons_table", "seed_comparisons_table"],
            name="compare_users_and_seeds",
            tags=ALWAYS,
        )
    ]
    if papers_pairs(study):
        nodes.append(
            node(
                run_papers_test,
                inputs={"study": "params:study", "evaluation": "params:evaluation", "study_ranks": "study_ranks"},
                outputs="paper_tests_table",
                name="run_papers_test",
                tags=ALWAYS,
            )
        )
    return box(nodes, "significance")
