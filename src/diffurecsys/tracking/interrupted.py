"""Runs whose processes are gone: closed as KILLED, and what they left half-tracked is removed."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

from diffurecsys.tracking.store import sqlite_file

PLACE = "diffurecsys.place"  # tag: host and project
PAGE = 1000
logger = logging.getLogger(__name__)


def place_of(project: Path) -> str:
    """Say on which machine and in which project a run works."""
    return f"{socket.gethostname()}:{project}"


def close_interrupted(client: MlflowClient, experiment_id: str, project: Path, uri: str) -> list[str]:
    """Close the runs of killed processes of this project; the experiment's lock must be held, so none of them works.

    The models of cells that were not evaluated go: the cell is tracked anew.

    Args:
        client: of the store.
        experiment_id: MLflow's.
        project: folder of the project.
        uri: of the store; all runs in a SQLite file of the project itself are the project's.

    Returns:
        Their identifiers.
    """
    own_file = (file := sqlite_file(uri)) is not None and project in file.parents
    closed = []
    for run in all_runs(client, experiment_id, "attributes.status = 'RUNNING'"):
        if own_file or run.data.tags.get(PLACE) == place_of(project):
            _drop_models(client, run)
            client.set_terminated(run.info.run_id, "KILLED")
            closed.append(run.info.run_id)
    if closed:
        logger.info("Closed %d MLflow run(s) of interrupted processes as KILLED", len(closed))
    return closed


def tracked_identities(client: MlflowClient, experiment_id: str) -> set[tuple[str, str]]:
    """Return name and identity of every cell that has a finished run with metrics."""
    runs = all_runs(client, experiment_id, "attributes.status = 'FINISHED'")
    return {
        (str(run.info.run_name), run.data.params["identity"])
        for run in runs
        if "identity" in run.data.params and any(name.startswith("test/") for name in run.data.metrics)
    }


def all_runs(client: MlflowClient, experiment_id: str, condition: str) -> list[Run]:
    """Return all runs of an experiment that meet a condition, page by page."""
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], condition, ViewType.ACTIVE_ONLY, PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _drop_models(client: MlflowClient, run: Run) -> None:
    for output in run.outputs.model_outputs if run.outputs is not None else []:
        client.delete_logged_model(output.model_id)
