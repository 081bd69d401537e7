r"""Time and peak memory of training steps over a large catalogue, on random histories, and of its best ten items.

python benchmarks/large_catalogue.py --out docs/results/large_catalogue.json
python benchmarks/large_catalogue.py --negatives 8192 --out docs/results/large_catalogue_sampled.json
python benchmarks/large_catalogue.py --plain --out docs/results/large_catalogue_plain.json
python benchmarks/large_catalogue.py --items 10000000 --width 64 --negatives 8192 \
    --out docs/results/large_catalogue_ten_million.json
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F

from common import MODELS, build_model, describe_machine, matmul_flops, peak_memory, synchronise, write_json
from diffurecsys.data.packing import Packer
from diffurecsys.data.store import Examples, SequenceStore
from diffurecsys.layers.item_table import densify_gradients
from diffurecsys.models.families import diffurec
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.serving.top_items import top_items
from diffurecsys.training import derive_generator
from diffurecsys.training.device import in_precision, keep_freed_memory, resolve_device
from diffurecsys.training.optimisation import LazyAdam
from flops import forward_flops


def plain_cross_entropy(x: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Hold all scores at once, as is usual."""
    return F.cross_entropy(x @ items.T, targets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--length", type=int, default=9, help="of every history")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--model", choices=MODELS, default="diffurec")
    parser.add_argument("--negatives", type=int, help="sampled items in place of the full softmax")
    parser.add_argument("--lazy", action="store_true", help="move only the items that a step looked up")
    parser.add_argument("--plain", action="store_true", help="PyTorch's cross-entropy in place of ours")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    device = resolve_device(args.device)
    if device.type == "cpu":
        keep_freed_memory()
    if args.plain:
        diffurec.catalogue_cross_entropy = plain_cross_entropy
    draw = derive_generator(0, "data")
    span = args.length + 1
    items = torch.randint(args.items, (args.batch_size * span,), generator=draw, dtype=torch.int32)
    starts = torch.arange(args.batch_size) * span
    store = SequenceStore(items, torch.arange(args.batch_size + 1) * span, args.items)
    batch, _ = Packer(store, Examples(starts, starts + args.length), device).pack(torch.arange(args.batch_size))
    config = DiffuRecConfig(width=args.width, negatives=args.negatives)
    model = build_model(args.model, args.items, config, derive_generator(0, "weights")).to(device)
    kind = LazyAdam if args.lazy else torch.optim.Adam
    optimiser = kind(model.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
    noise, seconds = derive_generator(0, "noise", device), []
    for _ in range(args.steps):
        synchronise(device)
        began = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        with in_precision(device, "auto"):
            loss = model.loss(batch, noise)
        loss.backward()
        if not args.lazy:
            densify_gradients(model.parameters())
        optimiser.step()
        synchronise(device)
        seconds.append(time.perf_counter() - began)
    peak = peak_memory(device)
    limit = matmul_flops(device, 8192, model.config.width)
    flops = 3 * forward_flops(args.model, model.config, batch, args.negatives or args.items)
    model.eval()
    synchronise(device)
    began = time.perf_counter()
    with torch.inference_mode():
        top_items(model.users(batch, noise, 1), model.items(), 10)
    synchronise(device)
    write_json(
        args.out,
        {
            "command": f"python benchmarks/large_catalogue.py --items {args.items} --width {args.width}"
            + (f" --negatives {args.negatives}" if args.negatives else "")
            + (" --lazy" if args.lazy else "")
            + (" --plain" if args.plain else ""),
            "machine": describe_machine(device),
            "set_up": {
                name: getattr(args, name) for name in ("items", "width", "batch_size", "length", "model", "negatives")
            },
            "matmul_gflops": limit / 1e9,
            "seconds_per_step": seconds,
            "share_of_matmul_limit": flops / median(seconds[1:]) / limit,
            "peak_memory_bytes": peak,
            "seconds_for_the_best_ten": time.perf_counter() - began,
        },
    )


if __name__ == "__main__":
    main()
