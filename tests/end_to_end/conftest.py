"""A finished small study, made once; tests get copies that they may change."""

from __future__ import annotations

import shutil

import pytest

STAGES = ("ingestion", "preprocessing", "cells", "study")  # all that takes results further; reports are made anyway


@pytest.fixture(scope="session")
def stages():
    """The pipelines up to the study's tables."""
    return STAGES


@pytest.fixture(scope="session")
def tiny_study(make_tiny):
    """The experiment `tiny` up to its tables; to be read only."""
    project = make_tiny()
    project.run(*STAGES, env="tiny")
    return project


@pytest.fixture
def finished(tiny_study, make_project):
    """A copy of the finished experiment `tiny`, with the times of its files."""
    project = make_project()
    shutil.copytree(tiny_study.root, project.root, dirs_exist_ok=True)
    return project
