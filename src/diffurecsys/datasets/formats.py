"""Common formats of kedro-datasets, saved atomically."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from kedro_datasets import json, matplotlib, pandas, plotly, text
from matplotlib.figure import Figure

from diffurecsys.datasets.atomic import AtomicSave
from diffurecsys.files import atomic_path


class ParquetDataset(AtomicSave, pandas.ParquetDataset):
    """`pandas.ParquetDataset`, saved atomically."""


class CSVDataset(AtomicSave, pandas.CSVDataset):
    """`pandas.CSVDataset`, saved atomically, in UTF-8 whatever the locale."""

    DEFAULT_FS_ARGS: ClassVar[dict[str, Any]] = {"open_args_save": {"mode": "w", "encoding": "utf-8", "newline": ""}}


class JSONDataset(AtomicSave, json.JSONDataset):
    """`json.JSONDataset`, saved atomically, in UTF-8 whatever the locale."""

    DEFAULT_FS_ARGS: ClassVar[dict[str, Any]] = {"open_args_save": {"mode": "w", "encoding": "utf-8"}}


class TextDataset(AtomicSave, text.TextDataset):
    """`text.TextDataset`, saved atomically, in UTF-8 whatever the locale."""

    DEFAULT_FS_ARGS: ClassVar[dict[str, Any]] = {
        "open_args_save": {"mode": "w", "encoding": "utf-8"},
        "open_args_load": {"mode": "r", "encoding": "utf-8"},
    }


class PlotlyDataset(AtomicSave, plotly.JSONDataset):
    """`plotly.JSONDataset`, saved atomically."""


class MatplotlibDataset(AtomicSave, matplotlib.MatplotlibDataset):
    """`matplotlib.MatplotlibDataset`, saved atomically."""


class FigureDataset(MatplotlibDataset):
    """A Matplotlib figure as PNG, and beside it as SVG for papers."""

    def save(self, data: Figure) -> None:
        """Write both files."""
        svg = Path(self._get_save_path()).with_suffix(".svg")
        super().save(data)
        with atomic_path(svg) as temporary:
            data.savefig(temporary, format="svg", metadata={"Date": None})
        self._send(svg)
