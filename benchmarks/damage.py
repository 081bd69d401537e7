"""Damage every kind of artefact in many ways and ask its reader: refused, read as it was, or, never, read otherwise.

OMP_NUM_THREADS=1 python benchmarks/damage.py --trials 500 --out docs/results/damage.json
"""

from __future__ import annotations

import argparse
import logging
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from common import write_json
from diffurecsys.data.split import StudyData, leave_one_out, load_split, save_split
from diffurecsys.data.store import SequenceStore
from diffurecsys.datasets import CSVDataset, JSONDataset, ParquetDataset
from diffurecsys.errors import UserError
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.models.weights import digest_state, load_weights, save_weights
from diffurecsys.pipelines.arrays import ranks_table
from diffurecsys.study import Cell, RankerSpec
from diffurecsys.training.cell_files import load_cell_files, save_cell_files
from diffurecsys.training.checkpoint import fingerprint, load_checkpoint
from diffurecsys.training.config import TrainingConfig
from diffurecsys.training.fit import fit_cell, rank_cell

NETWORK = DiffuRecConfig(width=8, blocks=1, heads=2, diffusion_steps=4)
CELL = Cell(RankerSpec("small", "diffurec", "model", NETWORK, TrainingConfig(epochs=2, batch_size=64, device="cpu")))
Read = Callable[[], object]  # what was read, as something to compare; None where the reader refused in its own words


def harm(content: bytes, draw: random.Random) -> bytes:
    """Flip a bit, zero or repeat a block, cut the end off, or add to it."""
    kind = draw.choice(("flip", "zero", "repeat", "cut", "more"))
    place = draw.randrange(len(content))
    size = draw.choice((1, 16, 512, 4096))
    changed = bytearray(content)
    if kind == "flip":
        changed[place] ^= 1 << draw.randrange(8)
    elif kind == "zero":
        changed[place : place + size] = bytes(len(changed[place : place + size]))
    elif kind == "repeat":
        other = draw.randrange(len(content))
        changed[place : place + size] = content[other : other + len(changed[place : place + size])]
    elif kind == "cut":
        del changed[place:]
    else:
        changed += draw.randbytes(size)
    return bytes(changed)


def make_artefacts(folder: Path) -> dict[str, tuple[Path, Read]]:
    """Write one of each kind; return its file and what reads it."""
    store = SequenceStore.from_lists([[(u + s) % 20 for s in range(4 + u % 5)] for u in range(60)], n_items=20)
    data = StudyData(store, leave_one_out(store, max_length=10))
    checkpoint = folder / "checkpoint.pt"
    fitted = fit_cell(CELL, data, checkpoint_path=checkpoint)
    ranks = rank_cell(fitted.weights, data, seed=0, device="cpu")
    run = str(torch.load(checkpoint, weights_only=True)["fingerprint"])
    weights, split, cell = folder / "weights.safetensors", folder / "split.npz", folder / "cell"
    save_weights(fitted.weights, weights)
    save_split(data, split)
    save_cell_files(cell, fitted, ranks, weights=True)
    table = ranks_table(ranks["test"])
    parquet = ParquetDataset(filepath=f"{folder}/ranks.parquet")
    csv = CSVDataset(filepath=f"{folder}/table.csv", save_args={"index": False})
    json = JSONDataset(filepath=f"{folder}/record.json")
    parquet.save(table)
    csv.save(table)
    json.save(fitted.record)

    def of_cell() -> object:
        found = load_cell_files(cell, data)
        return str(found.record), str(found.history), str(found.ranks), digest_state(found.state or {})

    def of_table(dataset: Any) -> Read:
        return lambda: pd.util.hash_pandas_object(dataset.load()).sum()

    return {
        "checkpoint": (checkpoint, lambda: fingerprint(state) if (state := load_checkpoint(checkpoint, run)) else None),
        "weights": (weights, lambda: digest_state(load_weights(weights).state)),
        "split": (split, lambda: load_split(split).fingerprint),
        "table (Parquet)": (Path(f"{folder}/ranks.parquet"), of_table(parquet)),
        "table (CSV)": (Path(f"{folder}/table.csv"), of_table(csv)),
        "record (JSON)": (Path(f"{folder}/record.json"), lambda: str(json.load())),
        **{
            f"imported cell: {name}": (cell / name, of_cell)
            for name in ("record.json", "history.json", "test_ranks.npz", "weights.pt")
        },
    }


def try_artefact(path: Path, read: Read, trials: int, draw: random.Random) -> Counter[str]:
    """Damage a file again and again, and count what its reader says."""
    content, expected = path.read_bytes(), read()
    assert expected is not None
    found: Counter[str] = Counter()
    for _ in range(trials):
        damaged = harm(content, draw)
        if damaged == content:
            continue
        path.write_bytes(damaged)
        try:
            value = read()
        except UserError:
            found["refused, naming the file"] += 1
        except Exception as error:
            found[f"crashed: {type(error).__name__}"] += 1
        else:
            if value is None:
                found["refused, begun anew"] += 1
            else:
                found["read as it was" if value == expected else "READ OTHERWISE"] += 1
    path.write_bytes(content)
    return found


def main() -> None:
    """Try every kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    draw = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        made = make_artefacts(Path(folder))
        result = {name: dict(try_artefact(path, read, args.trials, draw)) for name, (path, read) in made.items()}
    write_json(args.out, {"trials": args.trials, "artefacts": result})


if __name__ == "__main__":
    main()
