"""Maps: where models place users and items; only of models whose scores are inner products."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node

from diffurecsys.pipelines.boxes import box, of_cells
from diffurecsys.pipelines.conventions import ALWAYS
from diffurecsys.pipelines.maps.nodes import map_samples, map_users_and_items, plot_target_map
from diffurecsys.study import RankerSpec, Study

SHARED = {"evaluation": "params:evaluation", "maps": "params:maps", "data": "split"}


def create_pipeline(study: Study) -> Pipeline:
    """Map the representations of each such ranker's first seed."""
    return Pipeline([_map(study, spec) for spec in study.specs if study.maps(spec)])


def _map(study: Study, spec: RankerSpec) -> Pipeline:
    weights = of_cells(study.cells_of(spec.name)[:1], "weights")
    inputs = {**SHARED, "weights": next(iter(weights))}
    nodes = [
        node(map_users_and_items, inputs=inputs, outputs=["target_map", "item_map"], name="map_users_and_items"),
        node(plot_target_map, inputs="target_map", outputs="target_map_plot", name="plot_target_map", tags=ALWAYS),
    ]
    if spec.network.capabilities.samples:
        nodes.append(node(map_samples, inputs=inputs, outputs="sample_map", name="map_samples"))
    return box(nodes, spec.name, renamed=weights, prefix=True)
