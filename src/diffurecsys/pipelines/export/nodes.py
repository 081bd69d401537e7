"""Node that lists the cells which are still to be fitted, for `diffurecsys.remote`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from diffurecsys.data.split import StudyData
from diffurecsys.models.imported import IMPORTED
from diffurecsys.remote import describe_cell
from diffurecsys.study import Study
from diffurecsys.training.cell_files import find_cell

logger = logging.getLogger(__name__)


def list_missing_cells(study: Study, split: StudyData, imported_cells: Path) -> list[dict[str, Any]]:
    """Return all cells that are finished neither here nor in another experiment (`find_cell`), first seeds first."""
    missing = []
    for cell in sorted(study.cells, key=lambda cell: cell.seed):
        if cell.spec.family == IMPORTED:
            continue
        if find_cell(imported_cells, cell, split) is None:
            missing.append(describe_cell(cell))
    logger.info("%d of %d cells are still to be fitted", len(missing), len(study.cells))
    return missing
