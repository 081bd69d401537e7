"""The project's Kedro context: parameters are checked once, by the project's own types, and reach nodes as such."""

from __future__ import annotations

from typing import Any

from kedro.framework.context import KedroContext

from diffurecsys.parameters import Parameters, validate_parameters, with_digests


class StudyContext(KedroContext):
    """A context whose parameters are the sections of `Parameters`."""

    _checked: Parameters | None = None

    @property
    def checked(self) -> Parameters:
        """All parameters, typed.

        Raises:
            ParameterError: one of them is unknown, missing or impossible.
        """
        if self._checked is None:
            shared = self.config_loader["globals"]
            checked = validate_parameters(self.config_loader["parameters"])
            tables = self.project_path / str(shared["imported_cells"]) / checked.experiment
            self._checked = with_digests(checked, tables)
        return self._checked

    @property
    def params(self) -> dict[str, Any]:
        """The sections by name, in place of Kedro's own conversion, which knows nothing of families."""
        return self.checked.sections
