"""Nodes that lay the results of all cells end to end: the only source of everything that compares rankers."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from diffurecsys.columns import EPOCH, MODEL, SEED, SPLIT
from diffurecsys.study import Cell, Study


def collect_study(study: Study, **found: Any) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:  # noqa: ANN401
    """Put the ranks, records and histories of all cells into one table each.

    Args:
        study: the grid.
        found: of every cell `ranks_<key>`, `record_<key>` and `history_<key>`, see `cell_key`.

    Returns:
        Ranks: MODEL, SEED, SPLIT and the columns of ranks. Cells, one row each: MODEL, SEED, family, role; sweep, base,
        parameter and value (as JSON) of the sweeps' cells; scheme, epochs, epochs_planned, best_epoch, finished_early,
        parameters (their number), seconds, cpu_seconds, loss, users_per_second (ranked), peak_memory (bytes), device,
        cpu, precision, identity, imported. Curves, one row an epoch: MODEL, SEED, EPOCH, loss, learning_rate, seconds,
        labels_per_second, cpu_seconds, validation metrics.
    """
    ranks, cells, curves = [], [], []
    for cell in study.cells:
        key = cell_key(cell)
        own = {MODEL: cell.spec.name, SEED: cell.seed}
        ranks.append(found[f"ranks_{key}"].assign(**own))
        cells.append({**own, **_row(cell, found[f"record_{key}"], len(found[f"ranks_{key}"]))})
        if len(history := found[f"history_{key}"]):
            curves.append(history.assign(**own))
    columns = [MODEL, SEED, EPOCH]
    curve_table = pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=columns)
    rank_table = pd.concat(ranks, ignore_index=True)
    rank_table = rank_table[[MODEL, SEED, SPLIT, *rank_table.columns.difference([MODEL, SEED, SPLIT], sort=False)]]
    return (
        rank_table.astype({MODEL: "category", SPLIT: "category"}),
        pd.DataFrame(cells),
        curve_table[[*columns, *curve_table.columns.difference(columns, sort=False)]],
    )


def cell_key(cell: Cell) -> str:
    """Name a cell as Python names arguments: `diffurec_seed_0`."""
    return cell.namespace.replace(".", "_").replace("-", "_")


def _row(cell: Cell, record: dict[str, Any], users: int) -> dict[str, Any]:
    varies, training = cell.varies, record["training"] or {}
    known = ("epochs", "epochs_planned", "best_epoch", "finished_early", "parameters", "seconds", "cpu_seconds", "loss")
    return {
        "family": record["family"],
        "role": cell.spec.role,
        "sweep": varies.sweep if varies else None,
        "base": varies.base if varies else None,
        "parameter": varies.parameter if varies else None,
        "value": json.dumps(varies.value) if varies else None,
        "scheme": training.get("scheme"),
        **{name: record.get(name) for name in known},
        "users_per_second": record.get("users_per_second") or _speed_of_all(record, users),
        "peak_memory": record.get("peak_memory"),
        "device": record["machine"]["device"],
        "cpu": record["machine"]["cpu"],
        "precision": record.get("precision") or _precision_of(record),
        "identity": record["identity"],
        "imported": record.get("imported", False),
    }


def _speed_of_all(record: dict[str, Any], ranked: int) -> float | None:
    """Users ranked a second by a cell of before that was measured on its own: both parts, reading data included."""
    seconds = record.get("seconds_ranking")
    return ranked / seconds if seconds else None


def _precision_of(record: dict[str, Any]) -> str | None:
    """Precision of a cell of before records named it: `auto` was bfloat16 on CUDA and float32 elsewhere."""
    asked = (record["training"] or {}).get("precision")
    if asked != "auto":
        return asked
    return "bfloat16" if str(record["device"]).startswith("cuda") else "float32"
