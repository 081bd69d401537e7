"""Lists of RecTools' models for an experiment's test users, as `import_ranks` takes them.

Runs in an environment of its own (pip install rectools); reads what preprocessing left and writes one file a model.

python benchmarks/peer_rectools.py data/05_model_input/ml-100k data/03_primary/ml-100k data/01_raw/cells/ml-100k
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset
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
        # what a ranker may learn: the training part; what it may see of a user: all before the target
        events = {
            "train": zip(split["train_start"], split["train_end"], strict=True),
            "history": zip(split["offsets"][:-1], split[f"{part}_end"], strict=True),
        }
        datasets = {
            name: Dataset.construct(_table(spans, split["items"], users, items)) for name, spans in events.items()
        }
        for name, model in models.items():
            model.fit(datasets["train"])
            found = model.recommend(users, datasets["history"], k=TOP, filter_viewed=False)
            lists = found.rename(columns={Columns.User: "user_id", Columns.Item: "item_id", Columns.Score: "score"})
            lists = lists[["user_id", "item_id", "score"]].assign(split=part)
            path = args.out / f"rectools_{name}.parquet"
            earlier = [pd.read_parquet(path)] if part == "test" else []
            pd.concat([*earlier, lists], ignore_index=True).to_parquet(path, index=False)


def _table(spans: zip, events: np.ndarray, users: np.ndarray, items: np.ndarray) -> pd.DataFrame:
    rows = [
        (users[user], items[events[place]], place)
        for user, (first, end) in enumerate(spans)
        for place in range(first, end)
    ]
    table = pd.DataFrame(rows, columns=[Columns.User, Columns.Item, "place"])
    table[Columns.Datetime] = pd.Timestamp(0) + pd.to_timedelta(table.pop("place"), unit="s")
    return table.assign(**{Columns.Weight: 1.0})


if __name__ == "__main__":
    main()
