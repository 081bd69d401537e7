"""A large item table in two processes: kept whole in each, or divided by rows with PyTorch's DTensor.

python benchmarks/sharded_table.py --items 1000000 --out docs/results/sharded_table.json

Each variant is a job of its own under torchrun (Gloo on a CPU, NCCL with CUDA): the same network, batches, negatives
and optimiser; `one` is a single process with the whole batch. Losses must agree, or the command fails. On a machine
that does other work, read the processor's seconds, not the clock's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.parallel import RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from common import describe_machine, synchronise, write_json
from diffurecsys.collective import joined
from diffurecsys.layers.encoder import Encoder
from diffurecsys.layers.segments import Segments
from diffurecsys.machine import forget_peak_memory, peak_memory
from diffurecsys.training import derive_generator
from diffurecsys.training.device import keep_freed_memory, resolve_device

VARIANTS = {"one": 1, "replicated": 2, "sharded": 2}
TOLERANCE = 1e-4


class Network(nn.Module):
    """A causal encoder between one lookup of all items that a step needs, and scores of targets and negatives."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__()
        self.args = args
        self.table = nn.Embedding(args.items, args.width)
        shape = {"width": args.width, "heads": 2, "inner": args.width, "blocks": 2}
        self.encoder = Encoder(**shape, dropout=0.0, causal=True, positions="end", max_length=args.length)
        self.initialise()

    def initialise(self) -> None:
        """Draw all weights, the same in every process."""
        generator = derive_generator(0, "weights")
        self.encoder.initialise(generator)
        nn.init.normal_(self.table.weight, std=0.02, generator=generator)

    def forward(self, items: Tensor, negatives: Tensor) -> Tensor:
        """Sampled cross-entropy of `[histories, length + 1]` items against uniformly drawn negatives."""
        histories, length = len(items), self.args.length
        rows = self.table(torch.cat([items.flatten(), negatives]))
        own, other = rows.split([items.numel(), len(negatives)])
        own = own.view(histories, length + 1, -1)
        offsets = torch.arange(histories + 1, dtype=torch.int32, device=items.device) * length
        x = self.encoder(own[:, :-1].flatten(0, 1), Segments(offsets, (length,) * histories), None)
        positive = (x * own[:, 1:].flatten(0, 1)).sum(1, keepdim=True)
        logits = torch.cat([positive, x @ other.T], dim=1)
        return (logits.logsumexp(1, keepdim=True) - positive).mean()


def divided(network: Network, device: str) -> tuple[nn.Module, list[torch.optim.Optimizer]]:
    """Divide the table by rows; the encoder is replicated. Ids and looked up rows are exchanged, gradients stay."""
    mesh = init_device_mesh(device.partition(":")[0], (dist.get_world_size(),))
    parallelize_module(network.table, mesh, RowwiseParallel(input_layouts=Shard(0), output_layouts=Shard(0)))
    assert isinstance(network.table.weight, DTensor)
    together = DistributedDataParallel(_Outside(network))
    return together, [torch.optim.Adam(network.table.parameters()), torch.optim.Adam(network.encoder.parameters())]


class _Outside(nn.Module):
    """DistributedDataParallel adds up the encoder's gradients, and must leave the divided table alone."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        names = [f"network.table.{name}" for name, _ in network.table.named_parameters()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, names)

    def forward(self, items: Tensor, negatives: Tensor) -> Tensor:
        loss: Tensor = self.network(items, negatives)
        return loss


def measure(args: argparse.Namespace, device: str, rank: int, size: int) -> dict[str, object]:
    """Run the steps of one variant in this process."""
    network = Network(args).to(device)
    size_of_table = network.table.weight.numel() * network.table.weight.element_size()
    if args.variant == "sharded":
        model, optimisers = divided(network, device)
    else:
        model = network if size == 1 else DistributedDataParallel(network)
        optimisers = [torch.optim.Adam(network.parameters())]
    draw = derive_generator(0, "batches")
    losses, seconds, processor = [], [], []
    forget_peak_memory(torch.device(device))
    for _ in range(args.steps):
        items = torch.randint(args.items, (args.histories, args.length + 1), generator=draw)
        negatives = torch.randint(args.items, (args.negatives,), generator=draw).to(device)
        own = items.chunk(size)[rank].to(device)
        synchronise(torch.device(device))
        began, began_processor = time.perf_counter(), time.process_time()
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss = model(own, negatives)
        loss.backward()
        if args.variant == "sharded":  # DistributedDataParallel takes the mean over processes; so must the table
            network.table.weight.grad /= size
        for optimiser in optimisers:
            optimiser.step()
        whole = loss.detach().clone()
        if size > 1:
            dist.all_reduce(whole)
        losses.append(float(whole) / size)
        seconds.append(time.perf_counter() - began)
        processor.append(time.process_time() - began_processor)
    return {
        "processes": size,
        "table_megabytes_per_process": size_of_table / (size if args.variant == "sharded" else 1) / 1e6,
        "peak_memory_megabytes": (peak_memory(torch.device(device)) or 0) / 1e6,
        "exchanged_megabytes_per_step": exchanged(args, size) / 1e6,
        "seconds_per_step": median(seconds[1:]),
        "processor_seconds_per_step": median(processor[1:]),
        "losses": losses,
    }


def exchanged(args: argparse.Namespace, size: int) -> float:
    """Bytes of table, rows and ids that a process gives away in a step; the encoder's few are the same for all.

    A ring of n sends each number of a sum 2 (n - 1) / n times, and of a gathering or scattered sum half as often.
    """
    ring, row = (size - 1) / size, 4 * args.width
    if args.variant != "sharded":
        return 2 * ring * args.items * row
    looked_up = args.histories * (args.length + 1) + size * args.negatives
    return ring * looked_up * (2 * row + 8)  # rows forth, gradients back, and the ids


def run_variant(args: argparse.Namespace) -> None:
    """What torchrun starts: one variant, its record in a file."""
    with joined(args.device) as (team, device):
        if device == "cpu":
            keep_freed_memory()
        found = team.all_have(measure(args, device, team.rank, team.size))
        if team.leads:
            peaks = [process["peak_memory_megabytes"] for process in found]
            args.out.write_text(json.dumps({**found[0], "peak_memory_megabytes": peaks}), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--histories", type=int, default=64, help="of the whole batch; even")
    parser.add_argument("--length", type=int, default=20)
    parser.add_argument("--negatives", type=int, default=512)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.variant:
        run_variant(args)
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for variant, processes in VARIANTS.items():
            out = Path(folder) / f"{variant}.json"
            same = [f"--{name}={getattr(args, name)}" for name in ("items", "width", "histories", "length")]
            same += [f"--{name}={getattr(args, name)}" for name in ("negatives", "steps", "device")]
            launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
            command = [sys.executable, *launch, __file__, *same, f"--variant={variant}", f"--out={out}"]
            subprocess.run(command, check=True)
            found[variant] = json.loads(out.read_text(encoding="utf-8"))
    apart = {
        name: max(abs(a - b) for a, b in zip(found["one"]["losses"], found[name]["losses"], strict=True))
        for name in ("replicated", "sharded")
    }
    if max(apart.values()) > TOLERANCE:
        sys.exit(f"the variants' losses differ by {apart}")
    setting = {name: value for name, value in vars(args).items() if name not in ("out", "variant")}
    write_json(
        args.out,
        {
            "command": f"python benchmarks/sharded_table.py --items {args.items}",
            "machine": describe_machine(resolve_device(args.device)),
            "setting": setting,
            "loss_apart_at_most": apart,
            **found,
        },
    )


if __name__ == "__main__":
    main()
