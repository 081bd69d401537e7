"""Significance: which differences between models the numbers support."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.pipelines.conventions import ALWAYS
from diffurecsys.pipelines.significance.nodes import compare_users_and_seeds, run_papers_test
from diffurecsys.study import Study


def create_pipeline(study: Study) -> Pipeline:
    """Test every pair of models."""
    names = (*study.models, *study.baselines)
    return pipeline(
        [
            node(
                compare_users_and_seeds,
                inputs=[
                    "params:study",
                    "params:evaluation",
                    "params:significance",
                    *(f"{name}_ranks" for name in names),
                ],
                outputs=["comparisons", "seed_comparisons"],
                name="compare_users_and_seeds",
                tags=ALWAYS,
            ),
            node(
                run_papers_test,
                inputs=["params:study", *(f"{name}_results" for name in names)],
                outputs="paper_tests",
                name="run_papers_test",
                tags=ALWAYS,
            ),
        ]
    )
