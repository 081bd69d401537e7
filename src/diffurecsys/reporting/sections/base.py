"""What every section of a report is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from diffurecsys.evaluation.leaderboard import Leaderboard
from diffurecsys.reporting.paper import PaperResults
from diffurecsys.reporting.text_table import Table
from diffurecsys.study import Study

TRAINED = "trained rankers"  # besides names of tables, what a part may need of a study
OF_THE_PAPER = "models of the paper"
DIFFUSES = "rankers that see a noised target"


@dataclass(frozen=True)
class Results:
    """All that a section may read.

    Attributes:
        study: the grid.
        leaderboard: all rankers but the sweeps'.
        cells: one row a cell, the sweeps' included.
        curves: one row an epoch of each cell.
        paper: the paper's results; None on other datasets.
        confidence: of the intervals.
        n_items: of the catalogue.
        tables: by name, `comparisons_table`.
        maps: by kind (`target_map`) and ranker.
    """

    study: Study
    leaderboard: Leaderboard
    cells: pd.DataFrame
    curves: pd.DataFrame
    paper: PaperResults | None = None
    confidence: float = 0.95
    n_items: int | None = None
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    maps: Mapping[str, Mapping[str, pd.DataFrame]] = field(default_factory=dict)


@dataclass(frozen=True)
class Text:
    """What a section says: sentences, then tables."""

    sentences: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Made:
    """Something that a section makes of the results, and saves.

    Attributes:
        name: of the dataset.
        make: returns a figure, an interactive plot, or a frame.
        needs: what it needs besides what its section needs.
    """

    name: str
    make: Callable[[Results], Any]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """One section, and what it needs to be there.

    Attributes:
        title: its heading.
        write: its text.
        needs: tables, maps, or properties of the study without which it is left out.
        absent: says why it was left out; empty where nobody would miss it.
        figures: Matplotlib figures that it shows, `<name>_figure`.
        plots: interactive ones beside the page, `<name>_plot`.
        files: tables of its own, `<name>_table`.
    """

    title: str
    write: Callable[[Results], Text]
    needs: tuple[str, ...] = ()
    absent: str = ""
    figures: tuple[Made, ...] = ()
    plots: tuple[Made, ...] = ()
    files: tuple[Made, ...] = ()

    def made(self, found: frozenset[str]) -> tuple[Made, ...]:
        """All that it makes of a study in which `found` are there."""
        made = (*self.figures, *self.plots, *self.files)
        return tuple(one for one in made if found.issuperset({*self.needs, *one.needs}))
