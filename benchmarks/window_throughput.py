"""An epoch of SASRec over whole sequences, over all prefixes, and over padded sequences with PyTorch's own Transformer.

The three take a step in turn on a sample of an epoch's batches; seconds an epoch are those of the sample, for each
label of it, times the labels of an epoch. On a CPU they are the process's own, which other processes stretch less.

python benchmarks/window_throughput.py --split beauty=data/05_model_input/beauty/split.npz
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common import describe_machine, matmul_flops, synchronise, write_json
from diffurecsys.data.packing import PackedBatch, Packer
from diffurecsys.data.schemes import SCHEMES
from diffurecsys.data.split import StudyData, load_split
from diffurecsys.models.families.sasrec import SASRecConfig
from diffurecsys.models.registry import build_ranker
from diffurecsys.training.device import in_precision, keep_freed_memory, resolve_device
from diffurecsys.training.seeding import derive_generator

Losses = Callable[[PackedBatch], Tensor]


class PaddedSASRec(nn.Module):
    """The usual way: histories padded at their end to one length, a causal mask, absolute positions."""

    def __init__(self, n_items: int, config: SASRecConfig, length: int) -> None:
        super().__init__()
        self.config, self.length = config, length
        self.items, self.position = nn.Embedding(n_items + 1, config.width), nn.Embedding(length, config.width)
        nn.init.normal_(self.items.weight, std=config.embedding_std)
        nn.init.normal_(self.position.weight, std=config.embedding_std)
        layer = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            config.inner * config.width,
            config.dropout,
            activation=nn.GELU(approximate="tanh"),
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(
            layer, config.blocks, nn.LayerNorm(config.width), enable_nested_tensor=False
        )
        self.dropout = nn.Dropout(config.dropout)

    def loss(self, batch: PackedBatch) -> Tensor:
        """Return the mean cross-entropy over all positions that hold an item; others are left out of the logits."""
        device = batch.items.device
        lengths = torch.tensor(batch.lengths, device=device)
        row = torch.repeat_interleave(torch.arange(len(batch), device=device), lengths)
        place = torch.arange(len(row), device=device) - batch.offsets[:-1].long()[row]
        padded = torch.full((len(batch), self.length), self.items.num_embeddings - 1, device=device)
        padded[row, place] = batch.items
        mask = nn.Transformer.generate_square_subsequent_mask(self.length, device=device)
        x = self.items(padded) * self.config.width**0.5 + self.position.weight
        x = self.encoder(self.dropout(x), mask=mask, is_causal=True)[row, place]
        items = F.normalize(self.items.weight[:-1], dim=1)
        return F.cross_entropy(F.normalize(x, dim=1) @ items.T / self.config.temperature, batch.targets)


def stepper(model: nn.Module, losses: Losses, device: torch.device) -> Callable[[PackedBatch], None]:
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step(batch: PackedBatch) -> None:
        optimiser.zero_grad(set_to_none=True)
        with in_precision(device, "auto"):
            loss = losses(batch)
        loss.backward()
        optimiser.step()

    return step


def training_flops(config: SASRecConfig, batch: PackedBatch, n_items: int) -> float:
    """Count the products of a step over a packed batch: forward, and twice that backward."""
    d, tokens = config.width, len(batch.items)
    layers = tokens * (8 + 4 * config.inner) * d**2 * config.blocks  # queries, keys, values, output; feed-forward
    pairs = sum(length * (length + 1) // 2 for length in batch.lengths)
    return 3 * (layers + 4 * pairs * d * config.blocks + 2 * len(batch.targets) * n_items * d)


def sample(data: StudyData, scheme: str, size: int, count: int, device: torch.device) -> tuple[Iterator[Any], int]:
    """Return some batches of an epoch in random order, and how many labels all have."""
    kind = SCHEMES[scheme]
    examples = kind.cut(data.split.train, data.split.max_length)
    packer = Packer(data.store, examples, device, everywhere=kind.everywhere)
    order = torch.randperm(len(packer), generator=derive_generator(0, "shuffle"))[: size * count]
    return packer.batches(order, size), data.split.train.n_targets


def measure(data: StudyData, config: SASRecConfig, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    steps, batches, labels = {}, {}, 0
    for name in ("window", "prefix"):
        ranker = build_ranker("sasrec", config, data.store.n_items, derive_generator(0, "weights")).to(device).train()
        noise = derive_generator(0, "noise", device)
        steps[name] = stepper(ranker, lambda batch, r=ranker, g=noise: r.loss(batch, g), device)
        size = args.batch_size if name == "window" else args.prefix_batch_size
        batches[name], labels = sample(data, name, size, args.rounds + 1, device)
    padded = PaddedSASRec(data.store.n_items, config, data.split.max_length).to(device)
    steps["padded"] = stepper(padded, padded.loss, device)
    batches["padded"], _ = sample(data, "window", args.batch_size, args.rounds + 1, device)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    asked: dict[str, int] = dict.fromkeys(steps, 0)
    limits, rates, tokens = [], [], 0
    for number in range(args.rounds + 1):
        limits.append(matmul_flops(device, 1024, 256, clock))
        for name, step in steps.items():  # in turn, so that all meet the same state of the machine
            batch, _ = next(batches[name])
            synchronise(device)
            began = clock()
            step(batch)
            synchronise(device)
            spent = clock() - began
            if not number:  # the first round warms up
                continue
            seconds[name].append(spent)
            asked[name] += len(batch.targets)
            if name == "window":
                tokens += len(batch.items)
                rates.append(training_flops(config, batch, data.store.n_items) / spent)
    epoch = {name: sum(seconds[name]) / asked[name] * labels for name in steps}
    return {
        "users": data.store.n_users,
        "items": data.store.n_items,
        "length": data.split.max_length,
        "labels_an_epoch": labels,
        "labels_measured": asked,
        "window_tokens_a_step": tokens / args.rounds,
        "seconds_a_step": {name: median(times) for name, times in seconds.items()},
        "seconds_an_epoch": epoch,
        "times_window": {name: epoch[name] / epoch["window"] for name in ("prefix", "padded")},
        "matmul_gflops": median(limits) / 1e9,
        "window_share_of_matmul_limit": median(rates) / median(limits),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", action="append", required=True, help="NAME=PATH of a split.npz; may be repeated")
    parser.add_argument("--batch-size", type=int, default=128, help="windows a step")
    parser.add_argument("--prefix-batch-size", type=int, default=1024, help="prefixes a step")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = resolve_device(args.device)
    if device.type == "cpu":
        keep_freed_memory()
    splits = dict(entry.split("=", 1) for entry in args.split)
    results, config = {}, None
    for name, path in splits.items():
        data = load_split(Path(path))
        config = SASRecConfig(
            width=64,
            heads=2,
            inner=4,
            dropout=0.3,
            max_length=data.split.max_length,
            positions="relative",
            loss="cross_entropy",
            similarity="cosine",
        )
        results[name] = measure(data, config, args, device)
    write_json(
        args.out,
        {
            "command": "python benchmarks/window_throughput.py "
            + " ".join(f"--split {name}=SPLIT" for name in splits)
            + f" --prefix-batch-size {args.prefix_batch_size} --rounds {args.rounds} --threads {args.threads}",
            "machine": describe_machine(device),
            "network": asdict(config),
            "batch_size": args.batch_size,
            "prefix_batch_size": args.prefix_batch_size,
            "seconds": "of the process, sampled" if device.type == "cpu" else "by the clock, sampled",
            "results": results,
        },
    )


if __name__ == "__main__":
    main()
