"""The project's pipelines, built for the study of the current run."""

from __future__ import annotations

import os
from pathlib import Path

from kedro.framework.project import settings
from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project

from diffurecsys.parameters import Parameters, validate_parameters
from diffurecsys.pipelines import (
    cells,
    export,
    groups,
    inference,
    ingestion,
    maps,
    preprocessing,
    reporting,
    significance,
    sweep,
)
from diffurecsys.pipelines import study as collecting
from diffurecsys.study import Study

_parameters: Parameters | None = None


def set_parameters(parameters: Parameters) -> None:
    """Make the next `register_pipelines` draw the study of these parameters."""
    global _parameters  # Kedro calls register_pipelines without arguments
    _parameters = parameters


def current_study() -> Study:
    """Return the study set for this run; before any run, the one in the configuration."""
    return (_parameters or _configured()).study


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipelines by name."""
    parameters = _parameters or _configured()
    study, mapped = parameters.study, parameters.maps.rankers
    parts = {
        "ingestion": ingestion.create_pipeline(),
        "preprocessing": preprocessing.create_pipeline(),
        "cells": cells.create_pipeline(study),
        "study": collecting.create_pipeline(study),
        "significance": significance.create_pipeline(study),
        "groups": groups.create_pipeline(study),
        "inference": inference.create_pipeline(study),
        "sweep": sweep.create_pipeline(study),
        "maps": maps.create_pipeline(study, mapped),
        "reporting": reporting.create_pipeline(study, mapped),
    }
    everything = sum(parts.values(), start=Pipeline([]))
    return {"__default__": everything, "train_eval": everything, **parts, "export": export.create_pipeline()}


def _configured() -> Parameters:
    """Read the parameters as `kedro run` would (commands like `kedro registry list` load no context)."""
    project = find_kedro_project(Path.cwd()) or Path.cwd()
    loader = settings.CONFIG_LOADER_CLASS(
        conf_source=str(project / settings.CONF_SOURCE), env=os.getenv("KEDRO_ENV"), **settings.CONFIG_LOADER_ARGS
    )
    return validate_parameters(loader["parameters"])
