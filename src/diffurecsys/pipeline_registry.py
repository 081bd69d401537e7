"""The project's pipelines, built for the study of the current run."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from kedro.framework.project import settings
from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project

from diffurecsys.parameters import validate_parameters
from diffurecsys.pipelines import (
    cells,
    export,
    final_fit,
    groups,
    inference,
    ingestion,
    maps,
    onnx,
    preprocessing,
    recommend,
    reporting,
    significance,
    sweep,
)
from diffurecsys.pipelines import study as collecting
from diffurecsys.study import Study

_study: Study | None = None


def set_study(study: Study) -> None:
    """Make `study` the grid of the next `register_pipelines`."""
    global _study  # Kedro calls register_pipelines without arguments
    _study = study


def current_study() -> Study:
    """Return the study set for this run; before any run, the one in the configuration."""
    return _study or _configured_study()


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipelines by name."""
    with warnings.catch_warnings():
        # a stage's box reads cells of other boxes, whose names hold dots: that is what namespaces are for
        warnings.filterwarnings("ignore", "One or more dataset names contain")
        return _build(current_study())


def _build(study: Study) -> dict[str, Pipeline]:
    parts = {
        "ingestion": ingestion.create_pipeline(),
        "preprocessing": preprocessing.create_pipeline(),
        "cells": cells.create_pipeline(study),
        "study": collecting.create_pipeline(study),
        "significance": significance.create_pipeline(study),
        "groups": groups.create_pipeline(study),
        "inference": inference.create_pipeline(study),
        "sweep": sweep.create_pipeline(study),
        "maps": maps.create_pipeline(study),
        "reporting": reporting.create_pipeline(study),
    }
    everything = Pipeline(list(parts.values()))
    uses = {
        "export": export.create_pipeline(),
        "final_fit": final_fit.create_pipeline(),
        "onnx": onnx.create_pipeline(),
        "recommend": recommend.create_pipeline(),
    }
    return {"__default__": everything, "train_eval": everything, **parts, **uses}


def _configured_study() -> Study:
    """Read the study as `kedro run` would (commands like `kedro registry list` load no context)."""
    project = find_kedro_project(Path.cwd()) or Path.cwd()
    loader = settings.CONFIG_LOADER_CLASS(
        conf_source=str(project / settings.CONF_SOURCE), env=os.getenv("KEDRO_ENV"), **settings.CONFIG_LOADER_ARGS
    )
    return validate_parameters(loader["parameters"]).study
