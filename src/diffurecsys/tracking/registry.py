"""Registered models: `<experiment>-<ranker>`, each ranker's best cell, and `<experiment>`, the best of all.

The alias `champion` is on the version that is best on validation; `final` on what `final_fit` trained on everything. A
version is of one identity: repeating a study registers nothing twice.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from kedro.io import DataCatalog
from mlflow.entities.logged_model import LoggedModel
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from diffurecsys.columns import MODEL, SEED, TEST, VALIDATION
from diffurecsys.evaluation.ranks import Ranking
from diffurecsys.pipelines.chosen import best_ranker, validation_scores
from diffurecsys.study import Cell, Study
from diffurecsys.tracking.runs import TrackedCell, cell_metrics, log_served_model, made_from, metric_key, saved_file

logger = logging.getLogger(__name__)

CHAMPION, FINAL = "champion", "final"  # aliases
SHOWN = ("NDCG@10", "HR@10")  # in descriptions


@dataclass(frozen=True)
class Candidate:
    """A cell that may be registered, with what is said of it.

    Attributes:
        cell: the cell.
        model: what MLflow logged of it.
        metrics: by split and name, as `test/NDCG_10`.
    """

    cell: Cell
    model: LoggedModel
    metrics: Mapping[str, float]


def register_best(
    experiment: str,
    dataset: str,
    study: Study,
    study_ranks: pd.DataFrame,
    fingerprint: str,
    ranking: Ranking,
    cutoffs: Sequence[int],
) -> list[str]:
    """Register every ranker's cell that is best on validation, and the best ranker once more for the experiment.

    Rankers whose weights were not logged, such as imported ones, are left out.

    Args:
        experiment: names the MLflow experiment and the registered models.
        dataset: its name.
        study: the grid.
        study_ranks: all ranks.
        fingerprint: of the data.
        ranking: which NDCG@10 decides.
        cutoffs: of the metrics.

    Returns:
        Names of the models that have a champion now.
    """
    scores = validation_scores(study, study_ranks, ranking)
    best = best_ranker(scores)
    done = []
    for ranker in study.names:
        own = {cell: score for cell, score in scores.items() if cell.spec.name == ranker}
        if not own:
            continue
        cell = max(own, key=lambda cell: own[cell])
        if (model := find_model(experiment, cell.identity(fingerprint))) is None:
            continue
        part = study_ranks[(study_ranks[MODEL] == ranker) & (study_ranks[SEED] == cell.seed)]
        found = Candidate(cell, model, cell_metrics(part, cutoffs))
        for name in (f"{experiment}-{ranker}", *((experiment,) if ranker == best else ())):
            register(name, found.model, CHAMPION, describe(found, dataset), found.metrics)
            done.append(name)
    return done


def find_model(experiment: str, identity: str) -> LoggedModel | None:
    """Return the newest logged model of an identity; None where there is none."""
    client = MlflowClient()
    known = client.get_experiment_by_name(experiment)
    if known is None:
        return None
    found = client.search_logged_models(
        [known.experiment_id],
        filter_string=f"tags.identity = '{identity}'",
        max_results=1,
        order_by=[{"field_name": "creation_timestamp", "ascending": False}],
    )
    return found[0] if found else None


def register(name: str, model: LoggedModel, alias: str, description: str, metrics: Mapping[str, float]) -> None:
    """Have `name@alias` be the model; a version of the same identity is used again."""
    client, identity = MlflowClient(), model.tags["identity"]
    try:
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(name, description=f"Next-item recommendations: {description}")
    versions = client.search_model_versions(f"name = '{name}'")
    version = next((found.version for found in versions if found.tags.get("identity") == identity), None)
    if version is None:
        tags = {
            **{key: model.tags[key] for key in ("identity", "dataset_hash")},
            **{metric: f"{value:.6g}" for metric, value in metrics.items()},
        }
        version = client.create_model_version(
            name,
            f"models:/{model.model_id}",
            run_id=model.source_run_id,
            tags=tags,
            description=description,
            model_id=model.model_id,
        ).version
    client.set_registered_model_alias(name, alias, str(version))


def describe(found: Candidate, dataset: str) -> str:
    """Say what a model is and how good, in a sentence or two."""
    spec = found.cell.spec
    figures = ", ".join(
        f"{split} {metric} {found.metrics[key]:.4f}"
        for metric in SHOWN
        for split in (VALIDATION, TEST)
        if (key := metric_key(split, metric)) in found.metrics
    )
    return (
        f"{spec.name} (family {spec.family}), seed {found.cell.seed}, on {dataset}, learnt from "
        f"{spec.final_fit_on.replace('_', ' ')}: {figures} (all items ranked). Takes histories of item identifiers, "
        "gives the items most likely to follow."
    )


def register_final(parent: str, experiment: str, dataset: str, catalog: DataCatalog, tags: Mapping[str, str]) -> str:
    """Log what `final_fit` made in a run of its own inside the run `parent`, and register it.

    Returns:
        The registered name.
    """
    client, record = MlflowClient(), catalog.load("final_record")
    info = client.get_run(parent).info
    own = {"model": str(record["ranker"]), "seed": str(record["seed"]), "role": FINAL}
    run = client.create_run(info.experiment_id, run_name=FINAL, tags={"mlflow.parentRunId": parent, **tags, **own})
    for name, value in {**own, **made_from(record), "epochs": str(record["epochs"])}.items():
        client.log_param(run.info.run_id, name, value)
    path = saved_file(catalog, "final_weights")
    log_served_model(
        run.info.run_id, TrackedCell(catalog.load("final_history"), record, path, catalog.load("final_catalogue"))
    )
    client.set_terminated(run.info.run_id)
    name, model = f"{experiment}-{record['ranker']}", find_model(experiment, str(record["identity"]))
    assert model is not None  # logged just now
    register(
        name, model, FINAL, f"{record['ranker']} on {dataset}, learnt from everything; nothing is left to test", {}
    )
    return name
