"""Study: three long tables with the results of all cells."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node

from diffurecsys.pipelines.boxes import box
from diffurecsys.pipelines.study.nodes import cell_key, collect_study
from diffurecsys.study import Study


def create_pipeline(study: Study) -> Pipeline:
    """Collect the results of all cells."""
    inputs = {
        f"{kind}_{cell_key(cell)}": f"{cell.namespace}.{kind}"
        for cell in study.cells
        for kind in ("ranks", "record", "history")
    }
    collect = node(
        collect_study,
        inputs={"study": "params:study", **{key: key for key in inputs}},
        outputs=["study_ranks", "study_cells", "study_curves"],
        name="collect_study",
    )
    return box([collect], "study", renamed=inputs)
