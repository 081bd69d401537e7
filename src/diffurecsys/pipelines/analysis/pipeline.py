"""Analysis: groups of users, inference and uncertainty, what the diffusion contributes, maps of representations."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.pipelines.analysis.group_nodes import count_items_and_users, score_groups
from diffurecsys.pipelines.analysis.map_nodes import map_representations
from diffurecsys.pipelines.analysis.probe_nodes import (
    SUMMARIES,
    probe_model,
    probe_training_seeds,
    summarise_probes,
    tabulate_probes,
)
from diffurecsys.pipelines.analysis.sweep_nodes import tabulate_sweep
from diffurecsys.pipelines.conventions import ALWAYS, per_cell, per_model
from diffurecsys.study import Cell, Study

EXAMPLES = ["sequences", "item_vocabulary", "test_examples"]
PROBES = ["probed_ranks", "recommendations", "step_times"]


def create_pipeline(study: Study) -> Pipeline:
    """Analyse the ranks of all models and baselines, and probe every trained model."""
    probe = pipeline(
        [
            node(
                probe_model,
                inputs=["params:cell", "params:evaluation", "params:probes", "weights", *EXAMPLES],
                outputs=PROBES,
                name="probe_model",
            )
        ]
    )
    names = (*study.models, *dict.fromkeys(cell.model for cell in study.varied))
    models = [study.cells_of(name) for name in names]
    return (
        _groups(study)
        + per_cell(probe, study.trained, own=["weights"])
        + sum((_summarise(cells) for cells in models), start=Pipeline([]))
        + sum((_map(study.cells_of(model)) for model in study.models), start=Pipeline([]))
        + _tabulate(study)
        + _sweep(study)
    )


def _groups(study: Study) -> Pipeline:
    """Score and compare all models and baselines in groups of users."""
    return pipeline(
        [
            node(
                count_items_and_users,
                inputs=["sequences", "item_vocabulary", "train_examples"],
                outputs=["item_popularity", "history_lengths"],
                name="count_items_and_users",
            ),
            node(
                score_groups,
                inputs=[
                    "params:study",
                    "params:evaluation",
                    "params:significance",
                    "params:groups",
                    "item_popularity",
                    "history_lengths",
                    *(f"{name}_ranks" for name in (*study.models, *study.baselines)),
                ],
                outputs=["group_scores", "group_comparisons"],
                name="score_groups",
                tags=ALWAYS,
            ),
        ]
    )


def _summarise(cells: tuple[Cell, ...]) -> Pipeline:
    """Sum up the probes of a model's cells inside the model's namespace."""
    seeds = [cell.seed for cell in cells]
    base = pipeline(
        [
            node(
                probe_training_seeds,
                inputs=["params:evaluation", "params:probes", *EXAMPLES, *(f"weights_{seed}" for seed in seeds)],
                outputs="training_ensembles",
                name="probe_training_seeds",
                tags=ALWAYS,
            ),
            node(
                summarise_probes,
                inputs=[
                    "params:evaluation",
                    "params:groups",
                    "params:significance",
                    "item_popularity",
                    "history_lengths",
                    "test_ranks_0",
                    "training_ensembles",
                    *(f"{name}_{seed}" for seed in seeds for name in PROBES),
                ],
                outputs="probes",
                name="summarise_probes",
                tags=ALWAYS,
            ),
        ]
    )
    return per_model(base, cells, own={"weights": cells, "test_ranks": cells[:1], **dict.fromkeys(PROBES, cells)})


def _map(cells: tuple[Cell, ...]) -> Pipeline:
    """Map the representations of a model's first seed."""
    base = pipeline(
        [
            node(
                map_representations,
                inputs=["params:evaluation", "params:maps", *EXAMPLES, "item_popularity", "weights_0"],
                outputs=["target_map", "sample_map", "item_map"],
                name="map_representations",
            )
        ]
    )
    return per_model(base, cells, own={"weights": cells[:1]})


def _tabulate(study: Study) -> Pipeline:
    """Put the probes of all models side by side."""
    return pipeline(
        [
            node(
                tabulate_probes,
                inputs=["params:study", *(f"{name}_probes" for name in study.models)],
                outputs=list(SUMMARIES),
                name="tabulate_probes",
                tags=ALWAYS,
            )
        ]
    )


def _sweep(study: Study) -> Pipeline:
    """Set the models of the sweep beside their variants inside the sweep's namespace."""
    swept = [name for name in study.models if name in study.sweep.models]
    names = [*swept, *(cell.model for cell in study.variants)]
    parameters = ["params:study", "params:model", "params:evaluation", "params:significance"]
    kinds = ("ranks", "probes", "results")
    base = pipeline(
        [
            node(
                tabulate_sweep,
                inputs=[*parameters, *(f"{name}_{kind}" for kind in kinds for name in names)],
                outputs="delta_sweep",
                name="tabulate_sweep",
                tags=ALWAYS,
            )
        ]
    )
    return pipeline(
        base,
        namespace="sweep",
        inputs={f"{name}_{kind}" for name in swept for kind in kinds},
        parameters=set(parameters),
        outputs={"delta_sweep"},
    )
