"""ONNX graphs of every ranker with vectors against PyTorch: the ten best items of a thousand users, and the vectors.

python benchmarks/onnx_parity.py --out docs/results/onnx_parity.json
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnxruntime
import torch

from common import describe_machine, write_json
from diffurecsys.data.packing import pack_histories
from diffurecsys.data.split import StudyData
from diffurecsys.models import build_ranker
from diffurecsys.models.base import VectorRanker
from diffurecsys.models.registry import find_family
from diffurecsys.models.weights import RankerWeights, config_from
from diffurecsys.serving.one_history import Draws
from diffurecsys.serving.onnx_export import export_onnx
from diffurecsys.training import derive_generator
from serving_latency import MAX_LENGTH, N_ITEMS, configured, make_data

LENGTH = 50


def compare(family: str, values: dict[str, Any], data: StudyData, users: int, folder: Path) -> dict[str, Any]:
    """Export with drawn weights, run both."""
    if hasattr(find_family(family).config(), "max_length"):
        values = {**values, "max_length": max(MAX_LENGTH, values.get("max_length", 0))}
    config = config_from(family, values)
    ranker = build_ranker(family, config, N_ITEMS, derive_generator(0, "weights")).eval()
    assert isinstance(ranker, VectorRanker)
    ranker.observe(data)
    weights = RankerWeights(family, N_ITEMS, config, ranker.state_dict(), "", "", LENGTH)
    began = time.perf_counter()
    exported = export_onnx(weights, folder / "model.onnx")
    seconds = time.perf_counter() - began
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    draw = torch.Generator().manual_seed(1)
    apart, relative, others, inside = 0.0, 0.0, 0, 0.0
    for user in range(users):
        length = 1 + user % LENGTH
        history = torch.randint(N_ITEMS, (length,), generator=draw)
        shapes = [[length if size is None else size for size in shape] for shape in exported.noise]
        noise = tuple(torch.randn(shape, generator=draw) for shape in shapes)
        with torch.inference_mode(), patch("torch.randn", Draws(noise)):
            vector = ranker.users(pack_histories([history.tolist()]), torch.Generator(), exported.steps).float()
            expected = (vector @ ranker.items().float().T)[0]
        inputs = {"items": history.numpy(), **{f"noise_{place}": part.numpy() for place, part in enumerate(noise)}}
        began = time.perf_counter()
        found, scores = session.run(None, inputs)
        inside += time.perf_counter() - began
        apart = max(apart, float(np.abs(found - vector.numpy()).max()))
        relative = max(relative, float(np.abs(found - vector.numpy()).max() / vector.abs().max()))
        others += set(np.argsort(-scores[0])[:10]) != set(expected.topk(10).indices.tolist())
    return {
        "largest_difference": apart,
        "largest_relative_difference": relative,
        "users_with_other_items": others,
        "export_seconds": round(seconds, 1),
        "ms_a_history": round(1e3 * inside / users, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--rankers", nargs="*")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data, results = make_data(), {}
    for name, raw in configured().items():
        values = dict(raw.get("network") or {})
        if (args.rankers and name not in args.rankers) or not config_from(raw["family"], values).capabilities.vectors:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                results[name] = compare(raw["family"], values, data, args.users, Path(folder))
            except Exception as error:
                results[name] = {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
        print(name, results[name], flush=True)
    result = {"benchmark": "onnx_parity", "users": args.users, "items": N_ITEMS, "rankers": results}
    write_json(args.out, {**result, "machine": describe_machine(torch.device("cpu"))})


if __name__ == "__main__":
    main()
