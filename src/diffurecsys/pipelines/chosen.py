"""Which cell of a finished study is used: named, or the best on validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from diffurecsys.columns import MODEL, VALIDATION
from diffurecsys.data.split import StudyData
from diffurecsys.errors import DataError, UserError
from diffurecsys.evaluation.metrics import metrics_from_ranks
from diffurecsys.evaluation.ranks import Ranking
from diffurecsys.models.imported import IMPORTED
from diffurecsys.models.weights import RankerWeights, load_weights
from diffurecsys.objects import fetch_copy
from diffurecsys.pipelines.arrays import ranks_by_seed
from diffurecsys.serving.settings import BEST, FINAL
from diffurecsys.study import Cell, Study

CHOOSING_METRIC = "NDCG@10"


def weights_file(folder: Path, cell: Cell | None) -> Path:
    """Return where a cell's weights lie, or those of the final fit (None), under the models' `folder`."""
    place = Path("final") if cell is None else Path(cell.group, f"seed_{cell.seed}")
    return folder / place / "weights.safetensors"


def validation_scores(study: Study, study_ranks: pd.DataFrame, ranking: Ranking) -> dict[Cell, float]:
    """Return the validation NDCG@10 of every cell but the sweeps' and those that cannot be asked."""
    found = {}
    for name in study.names:
        if not (study_ranks[MODEL] == name).any():
            continue
        if study.spec(name).family == IMPORTED:
            continue
        by_seed = ranks_by_seed(study_ranks, name, VALIDATION)
        for cell in study.cells_of(name):
            if cell.seed in by_seed:
                found[cell] = metrics_from_ranks(by_seed[cell.seed], (10,), ranking)[CHOOSING_METRIC]
    return found


def best_ranker(scores: dict[Cell, float]) -> str:
    """Return the ranker whose seeds are best on the mean; the first of equals."""
    by_name: dict[str, list[float]] = {}
    for cell, score in scores.items():
        by_name.setdefault(cell.spec.name, []).append(score)
    return max(by_name, key=lambda name: float(np.mean(by_name[name])))


def choose_cell(study: Study, study_ranks: pd.DataFrame, ranking: Ranking, model: str, parameter: str) -> Cell:
    """Return a ranker's best cell.

    Args:
        study: the grid.
        study_ranks: all ranks.
        ranking: the study's primary one.
        model: a ranker, or `best`: that with the best mean over its seeds.
        parameter: that named it, for the message.

    Raises:
        UserError: the study has no such ranker.
    """
    scores = validation_scores(study, study_ranks, ranking)
    name = best_ranker(scores) if model == BEST else model
    own = {cell: score for cell, score in scores.items() if cell.spec.name == name}
    if not own:
        raise UserError(f"{parameter}: no ranker {model!r} in this study; choose from {', '.join(study.names)}")
    return max(own, key=lambda cell: own[cell])


def load_chosen(path: Path, data: StudyData) -> RankerWeights:
    """Load weights that are to be used.

    Raises:
        DataError: they belong to other data, or were left behind where they were made.
    """
    fetch_copy(path)
    weights = load_weights(path)
    if weights.data != data.fingerprint:
        raise DataError(f"{path} was made from other sequences or another split: run the pipeline that makes it again")
    return weights


def load_model(
    study: Study, study_ranks: pd.DataFrame, ranking: Ranking, model: str, folder: Path, data: StudyData
) -> tuple[str, RankerWeights]:
    """Load the model that `recommend.model` names: the final fit, or a ranker's best cell.

    Returns:
        What to call it, and its weights.

    Raises:
        DataError: see `load_chosen`.
        UserError: the study has no such ranker.
    """
    cell = None if model == FINAL else choose_cell(study, study_ranks, ranking, model, "recommend.model")
    return cell.namespace if cell else FINAL, load_chosen(weights_file(folder, cell), data)
