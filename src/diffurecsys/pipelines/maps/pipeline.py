"""Maps: where models place users and items; only of models whose scores are inner products."""

from __future__ import annotations

from collections.abc import Sequence

from kedro.pipeline import Pipeline, node

from diffurecsys.pipelines.boxes import box, of_cells
from diffurecsys.pipelines.conventions import ALWAYS
from diffurecsys.pipelines.maps.nodes import map_samples, map_users_and_items, plot_target_map
from diffurecsys.study import RankerSpec, Study

SHARED = {"evaluation": "params:evaluation", "maps": "params:maps", "data": "split"}


def create_pipeline(study: Study, mapped: Sequence[str] | None = None) -> Pipeline:
    """Map the representations of models' first seeds.

    Args:
        study: the grid.
        mapped: of which models; None is all. Those without vectors are left out.
    """
    names = [name for name in study.with_role("model") if mapped is None or name in mapped]
    specs = [study.spec(name) for name in names]
    return sum((_map(study, spec) for spec in specs if spec.network.capabilities.vectors), start=Pipeline([]))


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
