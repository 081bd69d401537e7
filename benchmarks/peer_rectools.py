"""Lists of RecTools' models for an experiment's test users, as `import_ranks` takes them.

Reads what preprocessing left and writes one file a model. The peer learns from the training part alone and is shown of
a user what the experiment's rankers are shown: the last `preprocessing.max_length` items before the target.

    python -m venv rectools && rectools/bin/pip install -r benchmarks/peer_rectools_requirements.txt
    rectools/bin/python benchmarks/peer_rectools.py data/05_model_input/ml-100k data/03_primary/ml-100k \
        data/01_raw/cells/ml-100k
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset, IdMap, Interactions
from rectools.models import EASEModel, PopularModel

TOP = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path, help="folder with split.npz")
    parser.add_argument(
        "vocabularies", type=Path, help="folder with user_vocabulary.parquet and item_vocabulary.parquet"
    )
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    with np.load(args.split / "split.npz") as file:
        split = {name: file[name] for name in file.files}
    users = pd.read_parquet(args.vocabularies / "user_vocabulary.parquet").sort_values("user")["user_id"].to_numpy()
    items = pd.read_parquet(args.vocabularies / "item_vocabulary.parquet").sort_values("item")["item_id"].to_numpy()
    args.out.mkdir(parents=True, exist_ok=True)
    models = {"ease": EASEModel(regularization=500.0), "popular": PopularModel()}
    for part in ("validation", "test"):
        spans = {"train": ("train_start", "train_end"), "history": (f"{part}_start", f"{part}_end")}
        tables = {name: _table(split, *ends, users, items) for name, ends in spans.items()}
        # one numbering for both: the peer numbers what it meets in the order of a table, and would mix up items
        numbers = IdMap.from_values(users), IdMap.from_values(items)
        datasets = {name: Dataset(*numbers, Interactions.from_raw(table, *numbers)) for name, table in tables.items()}
        asked = tables["history"][Columns.User].unique()
        for name, model in models.items():
            model.fit(datasets["train"])
            found = model.recommend(asked, datasets["history"], k=TOP, filter_viewed=False)
            lists = found.rename(columns={Columns.User: "user_id", Columns.Item: "item_id", Columns.Score: "score"})
            lists = lists[["user_id", "item_id", "score"]].assign(split=part)
            path = args.out / f"rectools_{name}.parquet"
            earlier = [pd.read_parquet(path)] if part == "test" else []
            pd.concat([*earlier, lists], ignore_index=True).to_parquet(path, index=False)


def _table(split: dict[str, np.ndarray], first: str, end: str, users: np.ndarray, items: np.ndarray) -> pd.DataFrame:
    """Return the events of spans as the peer reads them, in their order."""
    lengths = split[end] - split[first]
    owner = np.searchsorted(split["offsets"], split[first], side="right") - 1
    place = np.concatenate([np.arange(*span) for span in zip(split[first], split[end], strict=True)])
    return pd.DataFrame(
        {
            Columns.User: users[np.repeat(owner, lengths)],
            Columns.Item: items[split["items"][place]],
            Columns.Datetime: pd.Timestamp(0) + pd.to_timedelta(place, unit="s"),
            Columns.Weight: 1.0,
        }
    )


if __name__ == "__main__":
    main()
