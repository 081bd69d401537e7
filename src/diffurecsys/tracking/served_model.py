"""The model as MLflow stores it: item identifiers in, recommended identifiers out.

MLflow copies this file beside the weights and runs it whenever `mlflow.pyfunc.load_model` loads the model.
"""

from __future__ import annotations

import logging
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from diffurecsys.errors import UserError
from diffurecsys.serving.recommender import Recommendations, Recommender
from diffurecsys.tracking.strict_mlflow import hide_stack_traces, refuse_unknown_parameters

logger = logging.getLogger(__name__)

_BEYOND, _SHOWN = 2**63, 40
PARAMETERS = ("k", "exclude_history", "reverse_steps")


class ServedModel(PythonModel):
    """Recommends the items most likely to follow each history; see `diffurecsys.serving.recommender`."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read weights and catalogue."""
        refuse_unknown_parameters()
        hide_stack_traces()
        self._recommender = Recommender.load(context.artifacts["weights"], context.artifacts["catalogue"])

    def predict(  # type: ignore[override]  # MLflow 3 leaves the context out when the signature does
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame | list[dict[str, Any]]:
        """Return the best items for each history.

        Args:
            model_input: a column `history` with lists of item identifiers (texts or whole numbers), oldest first;
                unknown ones are left out. A history without a known item gets the most popular items.
            params: `k`, how many items to recommend; `exclude_history`, whether to leave out items of the history;
                `reverse_steps`, how many to walk, for rankers that have them. MLflow fills in the signature's
                defaults.

        Returns:
            A row a history: `items` (best first), `scores`, `source` (`model`, `popularity`, `none`), `unknown` (items
            of the history that the catalogue does not hold), `error` (why this row was no history, else None). In a
            server a list of objects, which are what a table becomes there, in a fraction of the time.

        Raises:
            MlflowException: a parameter is unknown or out of range; the message names it.
        """
        try:
            wanted = _checked(params or {})
            found = self._recommender.recommend(
                model_input["history"].tolist(),
                wanted["k"],
                exclude_history=wanted["exclude_history"],
                steps=wanted["reverse_steps"],
            )
        except ValueError as error:
            if isinstance(error, UserError):
                raise MlflowException(str(error), INTERNAL_ERROR) from None
            raise MlflowException.invalid_parameter_value(_as_clients_say(str(error))) from None
        except MlflowException:
            raise
        except Exception:
            logger.exception("A request failed")
            raise MlflowException("the model failed; the server's log says why", INTERNAL_ERROR) from None
        serving = _MLFLOW_IS_IN_SERVING_ENVIRONMENT.get()  # type: ignore[no-untyped-call]
        return _rows(found) if serving else _frame(found)


def _checked(params: dict[str, Any]) -> dict[str, Any]:
    """Return all parameters, those left out by their defaults.

    Raises:
        ValueError: one is unknown, or of another type.
    """
    if unknown := sorted(set(params) - set(PARAMETERS)):
        raise ValueError(f"no such parameter: {', '.join(unknown)}; there are {', '.join(PARAMETERS)}")
    k, exclude, steps = params.get("k", 10), params.get("exclude_history", False), params.get("reverse_steps")
    for name, value in (("k", k), ("reverse_steps", steps)):
        if value is None and name == "reverse_steps":
            continue
        if not _is_whole(value):
            raise ValueError(f"{name} must be a whole number, got {_shown(value)}")
    return {"k": int(k), "exclude_history": bool(exclude), "reverse_steps": None if steps is None else int(steps)}


def _is_whole(value: Any) -> bool:  # noqa: ANN401 - whatever a client sends
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return number and bool(-_BEYOND < value < _BEYOND and value == int(value))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _as_clients_say(message: str) -> str:
    return f"reverse_{message}" if message.startswith("steps") else message


def _rows(found: list[Recommendations]) -> list[dict[str, Any]]:
    return [
        {"items": row.items, "scores": row.scores, "source": row.source, "unknown": row.unknown, "error": row.error}
        for row in found
    ]


def _frame(found: list[Recommendations]) -> pd.DataFrame:
    columns = {
        "items": [list(row.items) for row in found],
        "scores": [list(row.scores) for row in found],
        "source": [row.source for row in found],
        "unknown": [row.unknown for row in found],
        "error": [row.error for row in found],
    }
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})  # None stays None


mlflow.models.set_model(ServedModel())
