"""A ranker of another tool: what it ranked is known, and nothing else. Configured by `import_ranks`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffurecsys.data.packing import PackedBatch
from diffurecsys.errors import UserError
from diffurecsys.models.base import Capabilities, Family, Ranker, RankerConfig

IMPORTED = "imported"


@dataclass(frozen=True)
class ImportedConfig(RankerConfig):
    """Where the other tool's ranks lie.

    Attributes:
        file: a CSV or Parquet file in the folder of imported cells, data/01_raw/cells/<experiment>.
        digest: of its content, filled in when parameters are read, so that another file is another ranker.
    """

    file: str = ""
    digest: str = ""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if not self.file.endswith((".csv", ".parquet")):
            raise ValueError(f"file must end with .csv or .parquet, got {self.file!r}")

    @property
    def capabilities(self) -> Capabilities:
        """It can be asked nothing."""
        return Capabilities(trains=False, schemes=())


class Imported(Ranker):
    """Stands for what cannot be asked."""

    def score(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Refuse.

        Raises:
            UserError: always.
        """
        raise UserError("imported ranks can be compared, but their ranker cannot be asked anything")


FAMILY = Family(IMPORTED, ImportedConfig, Imported)
