"""The project's pipelines, built for the study of the current run."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from kedro.framework.project import settings
from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project

from diffurecsys.parameters import Parameters, validate_parameters
from diffurecsys.pipelines import (
    cells,
    describe,
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
    tuning,
)
from diffurecsys.pipelines import study as collecting
from diffurecsys.study import Study

_parameters: Parameters | None = None


def set_parameters(parameters: Parameters) -> None:
    """Have the next `register_pipelines` build the pipelines of these parameters."""
    global _parameters  # Kedro calls register_pipelines without arguments
    _parameters = parameters


def current_study() -> Study:
    """Return the study set for this run; before any run, the one in the configuration."""
    return _current().study


def _current() -> Parameters:
    return _parameters or _configured()


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipelines by name."""
    with warnings.catch_warnings():
        # a stage's box reads cells of other boxes, whose names hold dots: that is what namespaces are for
        warnings.filterwarnings("ignore", "One or more dataset names contain")
        return _build(_current())


def _build(parameters: Parameters) -> dict[str, Pipeline]:
    study = parameters.study
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
    plan, data = tuning.create_plan(), parts["ingestion"] + parts["preprocessing"]
    return {
        "__default__": everything,
        "train_eval": everything,
        **parts,
        "plan": plan,
        "tune": data + plan + tuning.create_pipeline(study, parameters.tuning),
        "describe": data + describe.create_pipeline(),
        "export": export.create_pipeline(),
        "final_fit": final_fit.create_pipeline(),
        "onnx": onnx.create_pipeline(),
        "recommend": recommend.create_pipeline(),
    }


def _configured() -> Parameters:
    """Read the parameters as `kedro run` would (commands like `kedro registry list` load no context)."""
    project = find_kedro_project(Path.cwd()) or Path.cwd()
    loader = settings.CONFIG_LOADER_CLASS(
        conf_source=str(project / settings.CONF_SOURCE), env=os.getenv("KEDRO_ENV"), **settings.CONFIG_LOADER_ARGS
    )
    return validate_parameters(loader["parameters"])
