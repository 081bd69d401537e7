"""Two habits of MLflow's scoring that a served model does not take over.

Parameters that a signature lacks are dropped there with a line in the server's log, so that a misspelt `kk` recommends
ten items; and errors come back to the client with a stack trace, which names the server's paths. Models carry an exact
version of MLflow, so that what is replaced here is what was tested.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import mlflow.models.utils
import mlflow.pyfunc
from mlflow.exceptions import MlflowException
from mlflow.types.schema import ParamSchema

OURS = "diffurecsys"  # attribute of what stands in MLflow's place
KNOWN = frozenset({"k", "exclude_history", "reverse_steps"})  # a schema of these is one of our models'


def refuse_unknown_parameters() -> None:
    """Have parameters that a model of this project does not know refused by name."""
    enforce = mlflow.models.utils._enforce_params_schema
    if hasattr(enforce, OURS):
        return

    @wraps(enforce)
    def refuse(params: dict[str, Any] | None, schema: ParamSchema | None) -> Any:  # noqa: ANN401
        names = {spec.name for spec in schema.params} if schema is not None else set()
        ours = {"k", "exclude_history"} <= names <= KNOWN and isinstance(params, dict)
        if ours and (unknown := sorted(str(name) for name in set(params or ()) - names)):
            raise MlflowException.invalid_parameter_value(
                f"no such parameter: {', '.join(unknown)}; this model has {', '.join(sorted(names))}"
            )
        return enforce(params, schema)

    setattr(refuse, OURS, True)
    for module in (mlflow.models.utils, mlflow.pyfunc):
        if hasattr(module, "_enforce_params_schema"):
            module._enforce_params_schema = refuse


def hide_stack_traces() -> None:
    """Have errors that are sent to clients carry their message alone; the server's log keeps the rest."""
    serialise: Callable[[MlflowException], str] = MlflowException.serialize_as_json
    if hasattr(serialise, OURS):
        return

    @wraps(serialise)
    def without(self: MlflowException) -> str:
        self.json_kwargs.pop("stack_trace", None)
        return serialise(self)

    setattr(without, OURS, True)
    MlflowException.serialize_as_json = without  # type: ignore[method-assign]
