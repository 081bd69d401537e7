"""SASRec, GRU4Rec, BERT4Rec of this project beside RecBole's: same split, size, loss, steps; accuracy, seconds, ranks.

Every training runs in a process of its own with one thread, ours and the peer's in turn. Both train on the prefixes of
the same training sequences for the same epochs, keep the last weights, and are ranked by this project's evaluator.
Seconds are the process's own (CPU), which others stretch less. The peer's evaluator ranks each of its trained models,
too: it must place every test target where ours does. Finished trainings lie in --work: the command may be repeated.

    python -m venv peer && peer/bin/pip install -r benchmarks/peer_parity_requirements.txt
    peer/bin/python benchmarks/peer_parity.py --split data/05_model_input/ml-100k/split.npz --work peer_parity/ \
        --out docs/results/peer_parity_ml-100k.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import chdir
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[1] / "src"
sys.path.insert(0, str(SOURCE))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from common import describe_machine, peak_memory, write_json  # noqa: E402
from diffurecsys.data.packing import PackedBatch  # noqa: E402
from diffurecsys.data.split import StudyData, leave_one_out, load_split  # noqa: E402
from diffurecsys.data.store import SequenceStore  # noqa: E402
from diffurecsys.evaluation.metrics import metrics_from_ranks  # noqa: E402
from diffurecsys.evaluation.ranks import Ranks, rank_targets  # noqa: E402
from diffurecsys.models.base import scorer  # noqa: E402
from diffurecsys.models.registry import build_ranker, find_family  # noqa: E402
from diffurecsys.training import TrainingConfig, train  # noqa: E402
from diffurecsys.training.seeding import derive_generator  # noqa: E402

OURS, PEER = "diffurecsys", "recbole"
METRICS = ("HR@10", "NDCG@10")
WIDTH, BLOCKS, HEADS, INNER, DROPOUT, MASKED, LEARNING_RATE = 64, 2, 2, 4, 0.2, 0.2, 0.001
TRANSFORMER = {"width": WIDTH, "blocks": BLOCKS, "heads": HEADS, "inner": INNER, "dropout": DROPOUT}
PEER_TRANSFORMER = {
    "n_layers": BLOCKS,
    "n_heads": HEADS,
    "hidden_size": WIDTH,
    "inner_size": INNER * WIDTH,
    "hidden_dropout_prob": DROPOUT,
    "attn_dropout_prob": DROPOUT,
}
MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # family and settings of ours, settings of the peer's
    # RecBole's SASRec is DuoRec's encoder without the contrast: normalised after, places counted from the start
    "SASRec": ("duorec", {**TRANSFORMER, "contrast": 0.0}, PEER_TRANSFORMER),
    "GRU4Rec": (
        "gru4rec",
        {"width": WIDTH, "hidden": 128, "dropout": DROPOUT, "loss": "cross_entropy"},
        {"embedding_size": WIDTH, "hidden_size": 128, "num_layers": 1, "dropout_prob": DROPOUT},
    ),
    "BERT4Rec": (
        "bert4rec",
        {**TRANSFORMER, "positions": "start", "masked": MASKED, "last_only": 0.0},
        {**PEER_TRANSFORMER, "mask_ratio": MASKED},
    ),
}


def train_ours(name: str, seed: int, data: StudyData, epochs: int, batch_size: int) -> dict[str, Any]:
    """Train this project's model."""
    family, settings, _ = MODELS[name]
    if name == "GRU4Rec":  # as wide as the peer's Xavier draws, over a table with one row more
        settings = {**settings, "embedding_std": math.sqrt(2 / (data.store.n_items + 1 + WIDTH))}
    else:
        settings = {**settings, "max_length": data.split.max_length}
    config = find_family(family).config(**settings)
    ranker = build_ranker(family, config, data.store.n_items, derive_generator(seed, "weights"))
    ranker.observe(data)
    training = TrainingConfig(
        scheme="prefix",
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=LEARNING_RATE,
        weight_decay=0.0,
        lr_schedule="constant",
        patience=None,
        validate_every=epochs,
        device="cpu",
    )
    began, ended = time.process_time(), []
    train(ranker, data, training, seed=seed, on_step=lambda step: ended.append(time.process_time()))
    ranks = rank_targets(
        scorer(ranker, "evaluation"), data, data.split.test, generator=derive_generator(seed, "rank test"), device="cpu"
    )
    return {
        "seconds_an_epoch": (ended[-1] - began) / epochs,
        "steps": len(ended),
        "parameters": sum(parameter.numel() for parameter in ranker.parameters()),
        **_metrics(ranks),
    }


def train_peer(name: str, seed: int, data: StudyData, epochs: int, batch_size: int) -> dict[str, Any]:
    """Train RecBole's model, have its own evaluator rank the test targets, and rank the same model with ours."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    with tempfile.TemporaryDirectory() as folder, chdir(folder):  # it leaves logs where it runs
        _write_interactions(data, Path(folder) / "parity")
        config = Config(
            model=name,
            dataset="parity",
            config_dict={
                **MODELS[name][2],
                **{"data_path": folder, "checkpoint_dir": folder, "seed": seed, "reproducibility": True},
                **{"USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "TIME_FIELD": "timestamp"},
                "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
                "MAX_ITEM_LIST_LENGTH": data.split.max_length,
                "eval_args": {
                    **{"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"},
                    "mode": {"valid": "full", "test": "full"},
                },
                **{"loss_type": "CE", "train_neg_sample_args": None},
                **{"epochs": epochs, "train_batch_size": batch_size, "learning_rate": LEARNING_RATE},
                **{"weight_decay": 0.0, "eval_batch_size": 512, "use_gpu": False, "gpu_id": "", "state": "ERROR"},
                **{"metrics": ["Hit", "NDCG", "GAUC"], "topk": [10], "valid_metric": "NDCG@10"},
                **{"show_progress": False, "log_wandb": False, "worker": 0},
            },
        )
        init_seed(seed, reproducibility=True)
        dataset = create_dataset(config)
        loaders = data_preparation(config, dataset)
        train_data, test_data = loaders[0], loaders[2]
        model = get_model(name)(config, train_data.dataset)
        trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
        began = time.process_time()
        trainer.fit(train_data, None, verbose=False, saved=False, show_progress=False)
        seconds = time.process_time() - began
        known: list[Any] = []
        evaluate = trainer.evaluator.evaluate
        trainer.evaluator.evaluate = lambda collected: known.append(collected) or evaluate(collected)
        its_own = trainer.evaluate(test_data, load_best_model=False, show_progress=False)
    items = torch.tensor([dataset.token2id("item_id", str(item)) for item in range(data.store.n_items)])
    model.eval()
    ranks = rank_targets(
        _peer_scores(model, items, data.split.max_length),
        data,
        data.split.test,
        generator=derive_generator(seed, "rank test"),
        device="cpu",
    )
    order = dataset.id2token("user_id", test_data.dataset.inter_feat["user_id"].numpy()).astype(np.int64)
    placed = known[0].get("rec.meanrank")[:, 0].numpy()
    here = ranks.expected()[order]
    return {
        "seconds_an_epoch": seconds / epochs,
        "steps": epochs * len(train_data),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **_metrics(ranks),
        "its_own_evaluator": {"HR@10": its_own["hit@10"], "NDCG@10": its_own["ndcg@10"]},
        "users": len(order),
        "users_placed_alike": int((placed == here).sum()),
        "largest_difference_of_places": float(np.abs(placed - here).max()),
        "examples": len(train_data.dataset),
        "examples_here": data.split.train.n_targets,
    }


def _write_interactions(data: StudyData, folder: Path) -> None:
    """Write all sequences as the peer reads them; the time is the place in the sequence."""
    folder.mkdir(parents=True)
    store, lines = data.store, ["user_id:token\titem_id:token\ttimestamp:float"]
    for user, (first, end) in enumerate(zip(store.offsets[:-1].tolist(), store.offsets[1:].tolist(), strict=True)):
        places = enumerate(store.items[first:end].tolist())
        lines += [f"{user}\t{item}\t{place}" for place, item in places]
    (folder / "parity.inter").write_text("\n".join(lines) + "\n")


def _peer_scores(model: Any, items: Tensor, length: int):
    """Return how the peer's model scores our batches: its own `full_sort_predict`, columns in our order of items."""

    @torch.no_grad()
    def score(batch: PackedBatch, generator: torch.Generator) -> Tensor:
        sequences = torch.zeros(len(batch), length, dtype=torch.int64)
        lengths = batch.offsets.diff().long()
        rows = torch.repeat_interleave(torch.arange(len(batch)), lengths)
        places = torch.arange(len(batch.items)) - batch.offsets[:-1].long()[rows]
        sequences[rows, places] = items[batch.items.long()]
        asked = {model.ITEM_SEQ: sequences, model.ITEM_SEQ_LEN: lengths}
        return model.full_sort_predict(asked)[:, items]

    return score


def _metrics(ranks: Ranks) -> dict[str, float]:
    found = metrics_from_ranks(ranks)
    return {name: found[name] for name in METRICS}


def compare(runs: dict[tuple[str, str], list[dict[str, Any]]], name: str) -> dict[str, Any]:
    """Set one model's runs side by side; the noise is twice the standard error of a difference of means over seeds."""
    sides = {side: runs[name, side] for side in (OURS, PEER)}
    rows: dict[str, Any] = {}
    for side, found in sides.items():
        rows[side] = {
            **{metric: _mean_sd([run[metric] for run in found]) for metric in METRICS},
            "seconds_an_epoch": statistics.mean(run["seconds_an_epoch"] for run in found),
            "peak_mebibytes": statistics.mean(run["peak_bytes"] for run in found) / 2**20,
            "parameters": found[0]["parameters"],
            "steps": found[0]["steps"],
        }
    for metric in METRICS:
        ours, theirs = ([run[metric] for run in sides[side]] for side in (OURS, PEER))
        difference = statistics.mean(ours) - statistics.mean(theirs)
        noise = 2 * math.sqrt(sum(statistics.variance(one) / len(one) for one in (ours, theirs)))
        rows[f"difference_{metric}"] = {"value": difference, "noise": noise, "within": abs(difference) <= noise}
    peers = sides[PEER]
    rows["ranks"] = {
        "users_placed_alike": [run["users_placed_alike"] for run in peers],
        "users": peers[0]["users"],
        "largest_difference_of_places": max(run["largest_difference_of_places"] for run in peers),
        "largest_difference_of_metrics": max(
            abs(run["its_own_evaluator"][metric] - run[metric]) for run in peers for metric in METRICS
        ),
    }
    rows["examples"] = {PEER: peers[0]["examples"], OURS: peers[0]["examples_here"]}
    return rows


def _mean_sd(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.mean(values), "sd": statistics.stdev(values)}


def _last_events(store: SequenceStore, most: int | None) -> SequenceStore:
    """Keep each user's last events, and the items among them: targets stay, and an epoch costs less."""
    if most is None:
        return store
    lengths = store.offsets.diff().clamp(max=most)
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    places = torch.arange(int(offsets[-1])) + torch.repeat_interleave(store.offsets[1:] - offsets[1:], lengths)
    kept, items = store.items[places].unique(return_inverse=True)  # the peer knows no item that it never met
    return SequenceStore(items.int(), offsets, len(kept))


def run_one(arguments: argparse.Namespace) -> None:
    """Make one training in this process and keep its result."""
    side, name, seed = arguments.one[0], arguments.one[1], int(arguments.one[2])
    torch.set_num_threads(1)
    store = _last_events(load_split(arguments.split).store, arguments.events)
    data = StudyData(store, leave_one_out(store, max_length=arguments.length))
    make = train_ours if side == OURS else train_peer
    result = make(name, seed, data, arguments.epochs, arguments.batch_size)
    result["peak_bytes"] = peak_memory(torch.device("cpu"))
    path = arguments.work / f"{side}_{name}_{seed}.json"
    path.with_suffix(".part").write_text(json.dumps(result, indent=1, default=float))
    path.with_suffix(".part").replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of finished trainings")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--length", type=int, default=20, help="of histories")
    parser.add_argument("--events", type=int, help="of each user, the last ones; all by default")
    parser.add_argument("--one", nargs=3, metavar=("SIDE", "MODEL", "SEED"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.one:
        run_one(arguments)
        return
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for seed in range(arguments.seeds):
        for name in arguments.models:
            for side in (OURS, PEER):
                path = arguments.work / f"{side}_{name}_{seed}.json"
                if not path.exists():
                    command = [sys.executable, __file__, *sys.argv[1:], "--one", side, name, str(seed)]
                    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
                runs.setdefault((name, side), []).append(json.loads(path.read_text()))
                print(side, name, seed, {metric: round(runs[name, side][-1][metric], 4) for metric in METRICS})
    from importlib.metadata import version

    torch.set_num_threads(1)
    write_json(
        arguments.out,
        {
            "command": f"python benchmarks/peer_parity.py {' '.join(sys.argv[1:])}",
            "peer": f"RecBole {version('recbole')}",
            "machine": describe_machine(torch.device("cpu")),
            **{name: getattr(arguments, name) for name in ("seeds", "epochs", "batch_size", "length", "events")},
            "models": {name: compare(runs, name) for name in arguments.models},
        },
    )


if __name__ == "__main__":
    main()
