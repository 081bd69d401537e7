"""Catalog datasets that are whole or absent, notice damage, and can be told that they are out of date."""

from diffurecsys.datasets.atomic import AtomicSave, DamagedFileError
from diffurecsys.datasets.core import CatalogueDataset, SplitDataset, WeightsDataset
from diffurecsys.datasets.formats import (
    CSVDataset,
    FigureDataset,
    JSONDataset,
    MatplotlibDataset,
    ParquetDataset,
    PlotlyDataset,
    TextDataset,
)
from diffurecsys.datasets.places import FinishedCellsDataset, PathDataset, ReadFolderDataset, WrittenFolderDataset
from diffurecsys.datasets.tables import IbisFileDataset

__all__ = [
    "AtomicSave",
    "CSVDataset",
    "CatalogueDataset",
    "DamagedFileError",
    "FigureDataset",
    "FinishedCellsDataset",
    "IbisFileDataset",
    "JSONDataset",
    "MatplotlibDataset",
    "ParquetDataset",
    "PathDataset",
    "PlotlyDataset",
    "ReadFolderDataset",
    "SplitDataset",
    "TextDataset",
    "WeightsDataset",
    "WrittenFolderDataset",
]
