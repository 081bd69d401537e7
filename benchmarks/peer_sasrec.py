"""SASRec with binary cross-entropy beside a public one (pmixer/SASRec.pytorch): same split, size, loss and optimiser.

The peer's network is its own file; its sampler, which draws in processes of its own, and its evaluation against 100
sampled items are replaced. Both are asked for all validation targets after every few epochs, seeds differ in kind.

With a clone of pmixer/SASRec.pytorch beside the project:

kedro run --pipelines=ingestion,preprocessing,export --env=beauty-table5
python benchmarks/peer_sasrec.py ../SASRec.pytorch/python --out docs/results/peer_sasrec_beauty.json
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common import describe_machine, load_data, write_json
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.evaluation.metrics import metrics_from_ranks
from diffurecsys.evaluation.ranks import rank_targets
from diffurecsys.models import build_ranker
from diffurecsys.models.base import Scorer
from diffurecsys.models.families.sasrec import SASRecConfig
from diffurecsys.training import derive_generator
from diffurecsys.training.config import TrainingConfig
from diffurecsys.training.trainer import train

SIZE = {"width": 50, "blocks": 2, "heads": 1, "dropout": 0.5, "length": 50}
BATCH, RATE, BETAS = 128, 0.001, (0.9, 0.98)

Score = Callable[[PackedBatch, torch.Generator], Tensor]


def measure(score: Score, data: StudyData) -> dict[str, float]:
    """Rank all validation targets, both ways."""
    with torch.inference_mode():
        ranks = rank_targets(
            score,
            data,
            data.split.validation,
            generator=torch.Generator(),
            device=torch.device("cpu"),
            batch_size=512,
        )
    both = {"all": metrics_from_ranks(ranks, (10,)), "unseen": metrics_from_ranks(ranks, (10,), "unseen")}
    return {f"{name}, {kind}": found[name] for kind, found in both.items() for name in ("HR@10", "NDCG@10")}


def train_theirs(data: StudyData, epochs: int, every: int) -> list[dict[str, Any]]:
    """Train the peer as its script does, on padded histories."""
    from model import SASRec  # the peer's, whose folder was named

    length, n_items = SIZE["length"], data.store.n_items
    names = {"hidden_units": SIZE["width"], "num_blocks": SIZE["blocks"], "num_heads": SIZE["heads"]}
    settings = {**names, "maxlen": length, "dropout_rate": SIZE["dropout"], "device": "cpu", "norm_first": True}
    torch.manual_seed(0)
    peer = SASRec(len(data.split.train), n_items, SimpleNamespace(**settings))
    for weight in peer.parameters():
        if weight.ndim > 1:
            torch.nn.init.xavier_normal_(weight.data)
    with torch.no_grad():
        peer.pos_emb.weight[0] = peer.item_emb.weight[0] = 0
    optimiser = torch.optim.Adam(peer.parameters(), lr=RATE, betas=BETAS)
    loss_of = torch.nn.BCEWithLogitsLoss()
    spans = zip(data.split.train.start.tolist(), data.split.train.end.tolist(), strict=True)
    histories = [data.store.items[start:end].numpy() for start, end in spans if end - start > 1]
    draw = np.random.default_rng(0)

    def padded(rows: list[np.ndarray]) -> np.ndarray:
        out = np.zeros((len(rows), length), dtype=np.int64)
        for row, values in zip(out, rows, strict=True):
            kept = values[-length:]
            row[length - len(kept) :] = kept + 1  # item 0 is the peer's padding
        return out

    def negatives(history: np.ndarray) -> np.ndarray:
        drawn = draw.integers(0, n_items, len(history) - 1)
        while (known := np.isin(drawn, history)).any():
            drawn[known] = draw.integers(0, n_items, int(known.sum()))
        return drawn

    def score(batch: PackedBatch, generator: torch.Generator) -> Tensor:
        ends = batch.offsets.tolist()
        rows = [batch.items[start:end].numpy() for start, end in pairwise(ends)]
        return peer.log2feats(padded(rows))[:, -1] @ peer.item_emb.weight[1:].T

    found, spent = [], 0.0
    for epoch in range(1, epochs + 1):
        peer.train()
        losses, began = [], time.process_time()
        order = draw.permutation(len(histories))
        for start in range(0, len(order), BATCH):
            rows = [histories[index] for index in order[start : start + BATCH]]
            following = padded([row[1:] for row in rows])
            positive, negative = peer(
                None, padded([row[:-1] for row in rows]), following, padded([negatives(row) for row in rows])
            )
            asked = torch.from_numpy(following) != 0
            optimiser.zero_grad()
            ones, zeros = torch.ones(int(asked.sum())), torch.zeros(int(asked.sum()))
            loss = loss_of(positive[asked], ones) + loss_of(negative[asked], zeros)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        spent += time.process_time() - began
        if epoch % every == 0:
            peer.eval()
            found.append({"epoch": epoch, "loss": np.mean(losses), "cpu_seconds": spent, **measure(score, data)})
            print("theirs", found[-1], flush=True)
    return found


def train_ours(data: StudyData, epochs: int, every: int) -> list[dict[str, Any]]:
    """Train `sasrec` as configured in `sasrec_bce.yml`, with the same places."""
    size = {name: SIZE[name] for name in ("width", "blocks", "heads", "dropout")}
    config = SASRecConfig(**size, max_length=data.split.max_length)
    ranker = build_ranker("sasrec", config, data.store.n_items, derive_generator(0, "weights"))
    ranker.observe(data)
    training = TrainingConfig(
        scheme="window", epochs=epochs, batch_size=BATCH, learning_rate=RATE, beta2=BETAS[1], weight_decay=0,
        lr_schedule="constant", validate_every=epochs, precision="float32", device="cpu",
    )  # fmt: skip
    found: list[dict[str, Any]] = []
    spent = 0.0

    def watch(record: Any) -> None:
        nonlocal spent
        spent += record.cpu_seconds
        if record.epoch % every == 0:
            ranker.eval()
            scored = measure(Scorer(ranker, None), data)
            ranker.train()
            found.append({"epoch": record.epoch, "loss": record.loss, "cpu_seconds": spent, **scored})
            print("ours", found[-1], flush=True)

    train(ranker, data, training, seed=0, on_epoch=watch)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", type=Path, help="folder of the peer's model.py")
    parser.add_argument("--experiment", default="beauty-table5")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    sys.path.insert(0, str(args.peer.resolve()))
    torch.set_num_threads(1)
    data = load_data(args.experiment, int(SIZE["length"]))
    ours = train_ours(data, args.epochs, args.every)
    theirs = train_theirs(data, args.epochs, args.every)
    write_json(
        args.out,
        {
            "command": f"python benchmarks/peer_sasrec.py ../SASRec.pytorch/python --epochs {args.epochs}",
            "peer": "pmixer/SASRec.pytorch, norm_first",
            "machine": describe_machine(torch.device("cpu")),
            "experiment": args.experiment,
            "settings": {**SIZE, "batch_size": BATCH, "learning_rate": RATE, "beta2": BETAS[1], "negatives": 1},
            "validation": {"ours": ours, "theirs": theirs},
        },
    )


if __name__ == "__main__":
    main()
