"""The model as MLflow stores it: item identifiers in, recommended identifiers out.

MLflow copies this file beside the weights and runs it whenever `mlflow.pyfunc.load_model` loads the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
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

BATCH_SIZE = 512


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

        The same histories in the same order give the same lists. Histories of one call share its random numbers, so
        that among others a history may meet other noise than alone.

        Args:
            model_input: a column `history` with lists of item identifiers, oldest first; unknown ones are left out.
            params: `k`, how many items to recommend; `reverse_steps`, how many to walk; `exclude_history`, whether
                to leave out items of the history. MLflow fills in the signature's defaults.

        Raises:
            ValueError: a history holds no known item, or a parameter is out of range.
        """
        wanted = params or {}
        k, steps = int(wanted["k"]), int(wanted["reverse_steps"])
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        histories = [self._known(history) for history in model_input["history"]]
        by_length = sorted(range(len(histories)), key=lambda row: len(histories[row]))
        recommended: list[list[str]] = [[]] * len(histories)
        generator = derive_generator(0, "recommend")
        for begin in range(0, len(by_length), BATCH_SIZE):
            rows = by_length[begin : begin + BATCH_SIZE]
            with torch.inference_mode():
                best = self._model.recommend(
                    pack_histories([histories[row] for row in rows]),
                    generator,
                    min(k, len(self._identifiers)),
                    reverse_steps=steps,
                    exclude_history=bool(wanted["exclude_history"]),
                )
            for row, items, scores in zip(rows, best.items.tolist(), best.scores.tolist(), strict=True):
                recommended[row] = [
                    self._identifiers[item] for item, score in zip(items, scores, strict=True) if score > -math.inf
                ]
        return recommended

    def _known(self, history: Iterable[str]) -> list[int]:
        """Turn identifiers into item numbers."""
        known = [self._number[item] for item in history if item in self._number]
        if not known:
            raise ValueError(f"none of the history's items is in the catalogue: {list(history)}")
        return known


mlflow.models.set_model(Recommender())
