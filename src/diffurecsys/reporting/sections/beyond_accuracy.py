"""What recommendations are like besides hitting the target."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from diffurecsys.reporting.sections.base import Part, Results, Text
from diffurecsys.reporting.text_table import Columns, Table, make_table, score

MEASURES = {
    "coverage": "share of the catalogue recommended to anybody",
    "gini": "Gini coefficient of how often items are recommended",
    "mean_popularity": "mean training interactions of a recommended item",
    "rank_biased_overlap": "rank-biased overlap of two samples' lists (p = 0.9)",
    "identical": "share of users with the same set in all samples",
    "intra_user_diversity": "mean Jaccard distance of two samples' sets",
}


def write(results: Results) -> Text:
    """Write what the lists are like."""
    tables = results.tables
    return Text(
        tables=(
            beyond_accuracy_table(tables["beyond_accuracy_table"], tables["spread_table"], results.leaderboard.names),
        )
    )


def beyond_accuracy_table(beyond_accuracy: pd.DataFrame, spread: pd.DataFrame, names: Sequence[str]) -> Table:
    """Write what the lists are like besides hitting the target, a column a ranker."""
    by_model = beyond_accuracy.groupby(["model", "measure"], sort=False)["value"].mean().reset_index()
    spreads = spread.rename(columns={"mean": "value"})[["model", "measure", "value"]]
    rows = pd.concat([by_model, spreads])
    wide = rows.pivot_table(index="measure", columns="model", values="value", sort=False).reset_index()
    wide["meaning"] = [
        next(text for key, text in MEASURES.items() if measure.startswith(key)) for measure in wide["measure"]
    ]
    columns: Columns = {
        "measure": ("measure", str),
        "meaning": ("what it is", str),
        **{name: (name, _measure) for name in names if name in wide},
    }
    users = int(beyond_accuracy["n_users"].max())
    return make_table(
        "beyond_accuracy",
        "Beyond accuracy",
        wide,
        columns,
        caption=f"Mean over training seeds, from the top lists of {users:,} probed test users.",
    )


def _measure(value: float) -> str:
    return score(value) if value < 10 else f"{value:,.1f}"


PART = Part(
    "Beyond accuracy",
    write,
    needs=("beyond_accuracy_table", "spread_table"),
    absent="no ranker that was to be probed draws samples, whose lists are measured",
)
