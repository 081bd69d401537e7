"""The items as a served model carries them: identifiers, training popularity, titles where they are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from diffurecsys.columns import ITEM, ITEM_ID, TITLE, TRAINING_POPULARITY
from diffurecsys.data.split import StudyData
from diffurecsys.errors import DataError
from diffurecsys.files import atomic_path


@dataclass(frozen=True)
class Catalogue:
    """All items by number.

    Attributes:
        identifiers: one an item.
        popularity: int64 `[n_items]`, interactions in the training part.
        titles: one an item, None where there is none; None: nobody gave titles.
    """

    identifiers: list[str]
    popularity: Tensor
    titles: list[str | None] | None = None

    @classmethod
    def of(cls, data: StudyData, vocabulary: pa.Table, titles: Mapping[str, str] | None = None) -> Catalogue:
        """Put together what is known of a study's items.

        Args:
            data: whose training part is counted.
            vocabulary: ITEM and ITEM_ID, as preprocessing leaves it.
            titles: by identifier.

        Raises:
            DataError: data and vocabulary are of different items.
        """
        identifiers = vocabulary.sort_by(ITEM)[ITEM_ID].to_pylist()
        if len(identifiers) != data.store.n_items:
            raise DataError(
                f"the split has {data.store.n_items} items, but the vocabulary {len(identifiers)}: run preprocessing"
            )
        named = None if titles is None else [titles.get(identifier) for identifier in identifiers]
        return cls(identifiers, data.popularity, named)

    def save(self, path: Path) -> None:
        """Write as Parquet, whole or not at all."""
        columns = {
            ITEM: pa.array(range(len(self.identifiers)), pa.int32()),
            ITEM_ID: pa.array(self.identifiers, pa.string()),
            TRAINING_POPULARITY: pa.array(self.popularity.numpy(), pa.int64()),
        }
        if self.titles is not None:
            columns[TITLE] = pa.array(self.titles, pa.string())
        with atomic_path(path) as temporary:
            pq.write_table(pa.table(columns), temporary)

    @classmethod
    def load(cls, path: Path) -> Catalogue:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: it holds something else.
        """
        try:
            table = pq.read_table(path).sort_by(ITEM)
            popularity = torch.from_numpy(table[TRAINING_POPULARITY].to_numpy().copy())
            titles = table[TITLE].to_pylist() if TITLE in table.column_names else None
            return cls(table[ITEM_ID].to_pylist(), popularity, titles)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, KeyError, OSError) as error:
            raise DataError(f"{path} is no whole catalogue of items ({error})") from error
