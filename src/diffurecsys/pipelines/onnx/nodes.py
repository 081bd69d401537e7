"""Node that writes a model as ONNX."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import pandas as pd

from diffurecsys.data.split import StudyData
from diffurecsys.data.stored import read_table
from diffurecsys.pipelines.chosen import load_model
from diffurecsys.serving.catalogue import Catalogue
from diffurecsys.serving.onnx_export import export_onnx
from diffurecsys.serving.settings import RecommendParameters
from diffurecsys.study import Study

if TYPE_CHECKING:
    from diffurecsys.parameters import EvaluationParameters

logger = logging.getLogger(__name__)


def write_onnx(
    study: Study,
    evaluation: EvaluationParameters,
    recommend: RecommendParameters,
    split: StudyData,
    study_ranks: pd.DataFrame,
    item_vocabulary: ibis.Table,
    models_folder: Path,
    working_folder: Path,
) -> tuple[dict[str, Any], Catalogue]:
    """Write the model that `recommend.model` names beside the models, as `onnx/model.onnx`.

    Returns:
        What the graph takes, and the items by number.

    Raises:
        UserError: the ranker has no vectors.
    """
    model, weights = load_model(study, study_ranks, evaluation.ranking, recommend.model, models_folder, split)
    path = working_folder / "onnx" / "model.onnx"
    exported = export_onnx(weights, path, recommend.reverse_steps)
    logger.info("%s holds %s", path, model)
    record = {"family": weights.family, "identity": weights.identity, **dataclasses.asdict(exported)}
    return record, Catalogue.of(split, read_table(item_vocabulary))
