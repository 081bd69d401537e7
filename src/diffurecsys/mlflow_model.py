"""The model as MLflow stores it: item identifiers in, recommended identifiers out.

MLflow copies this file beside the weights and runs it whenever `mlflow.pyfunc.load_model` loads the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pyarrow.parquet as pq
import torch
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from diffurecsys.columns import ITEM, ITEM_ID
from diffurecsys.data.packing import pack_histories
from diffurecsys.models.weights import load_weights
from diffurecsys.training.seeding import derive_generator


class Recommender(PythonModel):
    """Recommends the items most likely to follow each history."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights and the vocabulary."""
        self._model = load_weights(Path(context.artifacts["weights"])).build()
        table = pq.read_table(context.artifacts["item_vocabulary"]).sort_by(ITEM)
        self._identifiers = table[ITEM_ID].to_pylist()
        self._number = {identifier: number for number, identifier in enumerate(self._identifiers)}

    def predict(  # type: ignore[override]  # MLflow 3 leaves the context out when the signature does
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[list[str]]:
        """Return the best items for each history, best first.

        Args:
            model_input: a column `history` with lists of item identifiers, oldest first; unknown ones are left out.
            params: `k`, how many items to recommend; MLflow fills in 10.

        Raises:
            ValueError: a history holds no known item.
        """
        k = int((params or {})["k"])
        recommended = []
        for history in model_input["history"]:
            known = [self._number[item] for item in history if item in self._number]
            if not known:
                raise ValueError(f"none of the history's items is in the catalogue: {list(history)}")
            with torch.inference_mode():
                scores = self._model.score(pack_histories([known]), derive_generator(0, "recommend"))
            best = torch.topk(scores[0], min(k, len(self._identifiers))).indices.tolist()
            recommended.append([self._identifiers[number] for number in best])
        return recommended


mlflow.models.set_model(Recommender())
