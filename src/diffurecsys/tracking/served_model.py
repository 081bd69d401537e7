"""The model as MLflow stores it: item identifiers in, recommended identifiers out.

MLflow copies this file beside the weights and runs it whenever `mlflow.pyfunc.load_model` loads the model.
"""

from __future__ import annotations

from typing import Any

import mlflow
import pandas as pd
import pyarrow.parquet as pq
import torch
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from diffurecsys.columns import ITEM, TRAINING_POPULARITY
from diffurecsys.serving.recommender import Recommender


class ServedModel(PythonModel):
    """Recommends the items most likely to follow each history; see `diffurecsys.serving.recommender`."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights and the vocabulary; and, where it was logged, what histories of unknown items get."""
        popularity = None
        if "item_popularity" in context.artifacts:
            table = pq.read_table(context.artifacts["item_popularity"]).sort_by(ITEM)
            popularity = torch.from_numpy(table[TRAINING_POPULARITY].to_numpy().copy())
        self._recommender = Recommender.load(
            context.artifacts["weights"], context.artifacts["item_vocabulary"], popularity
        )

    def predict(  # type: ignore[override]  # MLflow 3 leaves the context out when the signature does
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[list[str]]:
        """Return the best items for each history, best first.

        Args:
            model_input: a column `history` with lists of item identifiers, oldest first; unknown ones are left out. A
                history without a known item gets the most popular items, or none where no popularity was logged.
            params: `k`, how many items to recommend; `exclude_history`, whether to leave out items of the history;
                `reverse_steps`, how many to walk, for rankers that have them. MLflow fills in the signature's
                defaults.

        Raises:
            ValueError: a parameter is out of range.
        """
        wanted = params or {}
        steps = wanted.get("reverse_steps")
        found = self._recommender.recommend(
            [list(history) for history in model_input["history"]],
            int(wanted["k"]),
            exclude_history=bool(wanted["exclude_history"]),
            steps=None if steps is None else int(steps),
        )
        return [list(row.items) for row in found]


mlflow.models.set_model(ServedModel())
