"""Node that writes recommendations for many users."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import ibis
import pandas as pd

from diffurecsys.columns import ITEM_ID, TITLE, USER, USER_ID
from diffurecsys.data.split import StudyData
from diffurecsys.data.stored import read_table
from diffurecsys.objects import place_of, publish_copy
from diffurecsys.pipelines.chosen import load_model
from diffurecsys.progress import users_progress
from diffurecsys.serving.batch import KnownUsers, write_recommendations
from diffurecsys.serving.catalogue import Catalogue
from diffurecsys.serving.recommender import Recommender
from diffurecsys.serving.settings import Format, RecommendParameters
from diffurecsys.serving.tables import read_asked, read_items, read_titles
from diffurecsys.study import Study
from diffurecsys.training.device import resolve_device

if TYPE_CHECKING:
    from diffurecsys.parameters import EvaluationParameters

logger = logging.getLogger(__name__)


def recommend_to_users(
    study: Study,
    evaluation: EvaluationParameters,
    recommend: RecommendParameters,
    split: StudyData,
    study_ranks: pd.DataFrame,
    user_vocabulary: ibis.Table,
    item_vocabulary: ibis.Table,
    item_details: ibis.Table,
    read_record: dict[str, Any],
    models_folder: Path,
    raw_folder: Path,
    recommendations_folder: Path,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Write the best items of everybody asked for.

    Returns:
        What was written, where and by which model; the first rows.

    Raises:
        DataError: a file of users, items or titles cannot be used.
        UserError: the model does not exist.
    """
    model, weights = load_model(study, study_ranks, evaluation.ranking, recommend.model, models_folder, split)
    items = Catalogue.of(split, read_table(item_vocabulary))
    ranker = weights.build(resolve_device(evaluation.device))
    recommender = Recommender(ranker, items.identifiers, weights.max_length, items.popularity)
    users = read_table(user_vocabulary).sort_by(USER)[USER_ID].to_pylist()
    known = KnownUsers(split.store, users, items.identifiers)
    asked = read_asked(raw_folder / recommend.users) if recommend.users else known
    allow = read_items(raw_folder / recommend.allow) if recommend.allow else None
    deny = read_items(raw_folder / recommend.deny) if recommend.deny else []
    banned = None
    if allow is not None or deny:
        banned, unknown = recommender.banned_items(allow, deny)
        if unknown:
            logger.warning("%d items of the lists are not in the catalogue (first: %r)", len(unknown), unknown[0])
    total = len(asked) if isinstance(asked, list) else len(users)
    output = recommendations_folder / f"recommendations.{recommend.format}"
    with users_progress(f"recommend by {model}", total) as on_users:
        written = write_recommendations(
            recommender,
            asked,
            known,
            output,
            file_format=recommend.format,
            k=recommend.k,
            chunk=recommend.chunk,
            exclude_seen=recommend.exclude_seen,
            banned=banned,
            steps=recommend.reverse_steps,
            titles=read_titles(raw_folder / recommend.titles) if recommend.titles else _titles(item_details),
            types=read_record.get("types"),
            on_users=on_users,
        )
    publish_copy(output)
    logger.info("%s holds %s recommendations for %s users", place_of(output), f"{written.rows:,}", f"{written.users:,}")
    for other in get_args(Format):
        if (left := output.with_suffix(f".{other}")) != output and left.exists():
            logger.warning("%s beside it is of an earlier run; delete it if nothing reads it any more", place_of(left))
    record = {
        "file": output.name,
        "model": model,
        "identity": weights.identity,
        "data": weights.data,
        **{name: getattr(written, name) for name in ("users", "rows", "sources", "unknown_items")},
    }
    return record, written.preview.to_pandas()


def _titles(details: ibis.Table) -> dict[str, str] | None:
    """Return the titles that came with the data."""
    known = details.filter(ibis._[TITLE].notnull()).select(ITEM_ID, TITLE).to_pyarrow()
    return dict(zip(known[ITEM_ID].to_pylist(), known[TITLE].to_pylist(), strict=True)) if known.num_rows else None
