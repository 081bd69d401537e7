"""The project's Kedro context: parameters are checked once, by the project's own types, and reach nodes as such."""

from __future__ import annotations

import logging
import shlex
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kedro.framework import project
from kedro.framework.context import KedroContext

from diffurecsys import pipeline_registry
from diffurecsys.machine import git_revision
from diffurecsys.models.imported import IMPORTED
from diffurecsys.objects import fetch_folder, is_remote
from diffurecsys.parameters import (
    ParameterError,
    Parameters,
    check_dataset_name,
    check_same_dataset,
    validate_parameters,
    with_digests,
)
from diffurecsys.pipelines import tuning
from diffurecsys.study import Study
from diffurecsys.training.finished import only_finished

logger = logging.getLogger(__name__)


class StudyContext(KedroContext):
    """A context whose parameters are the sections of `Parameters`, and whose pipelines hold their grid of cells.

    Both are made here, not in a hook: `kedro viz` runs none.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Check all parameters and rebuild the pipelines for this run's grid.

        Raises:
            ParameterError: one of them is unknown, missing or impossible.
        """
        super().__init__(*args, **kwargs)
        if "[" in str(self.project_path):
            raise ParameterError(
                f"Kedro finds no configuration under {self.project_path}: it takes [ for a pattern. Rename that folder"
            )
        shared = self.config_loader["globals"]
        check_dataset_name(shared)
        check_same_dataset(shared, self.config_loader["parameters"].get("dataset"))
        pipeline_registry.set_parameters(self.checked)
        project.pipelines.configure(pipeline_registry.__name__)

    _checked: Parameters | None = None

    @property
    def checked(self) -> Parameters:
        """All parameters, typed.

        Raises:
            ParameterError: one of them is unknown, missing or impossible.
        """
        if self._checked is None:
            checked = validate_parameters(self.config_loader["parameters"])
            if any(spec.family == IMPORTED for spec in checked.study.specs):
                checked = with_digests(checked, self._from_elsewhere() / checked.experiment)
            if checked.study.unfinished == "leave_out":
                checked = replace(checked, study=self._finished_part(checked.study, checked.experiment))
            self._checked = checked
        return self._checked

    def _finished_part(self, study: Study, experiment: str) -> Study:
        """Leave out what lies finished neither among cells from elsewhere nor among the experiment's own models."""
        own = str(self.config_loader["globals"]["models"])
        folders = sorted(path for path in self._from_elsewhere().glob("*") if path.is_dir())
        if is_remote(own):
            folders.append(fetch_folder(f"{own}/{experiment}", only="record.json"))
        else:
            folders.append(self.project_path / own / experiment)
        try:
            found = only_finished(study, folders)
        except ValueError as error:
            raise ParameterError(str(error)) from None
        if found.left_out:
            logger.warning("Left out as not finished: %s", "; ".join(found.left_out))
        return found

    def _from_elsewhere(self) -> Path:
        """Return where other machines' cells and other tools' tables lie, experiment by experiment."""
        place = str(self.config_loader["globals"]["imported_cells"])
        return fetch_folder(place) if is_remote(place) else self.project_path / place

    @property
    def params(self) -> dict[str, Any]:
        """The sections by name, in place of Kedro's own conversion, which knows nothing of families."""
        return self.checked.sections

    def _get_parameters(self) -> dict[str, Any]:
        """Add each cell and each tuned ranker for its nodes, and for the report how it came about."""
        parameters = super()._get_parameters()
        for cell in self.checked.study.cells:
            parameters[f"params:{cell.namespace}.cell"] = cell
        for spec in self.checked.tuning.tuned(self.checked.study):
            parameters[f"params:{tuning.namespace(spec)}.spec"] = spec
        parameters["params:run"] = {
            "command": describe_command(sys.argv),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "revision": git_revision(self.project_path),
        }
        return parameters


def describe_command(arguments: list[str]) -> str:
    """Return the command line as a user would repeat it."""
    program, *rest = arguments
    name = "kedro" if "kedro" in program else Path(program).name  # Kedro calls itself `python -m kedro` at times
    return shlex.join([name, *rest])
