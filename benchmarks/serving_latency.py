"""Latency of one history and rate of a thousand, for every family at its configured size, on one core.

The catalogue is of Beauty's size (12,101 items), weights are drawn: what is measured depends on sizes alone. A request
is what MLflow's server does for one: JSON in, schema, model, JSON out; the network is left out. `p05_ms` is what a
request takes when other work of the machine disturbs it least.

python benchmarks/serving_latency.py --out docs/results/serving_latency.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
import yaml
from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT
from mlflow.pyfunc import scoring_server

from common import PROJECT, describe_machine
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.models import build_ranker
from diffurecsys.models.registry import find_family
from diffurecsys.models.weights import RankerWeights, config_from, save_weights
from diffurecsys.serving.catalogue import Catalogue
from diffurecsys.tracking.runs import MODEL_CODE, model_signature
from diffurecsys.training import derive_generator

N_ITEMS, N_USERS, MAX_LENGTH = 12_101, 22_363, 100


def configured() -> dict[str, dict[str, Any]]:
    """Every ranker of conf/base, its globals filled in."""
    folder = PROJECT / "conf" / "base"
    shared = yaml.safe_load((folder / "globals.yml").read_text())
    found = {}
    for path in sorted((folder / "parameters" / "models").glob("*.yml")):
        text = path.read_text()
        for name, value in shared.items():
            text = text.replace(f"${{globals:{name}}}", str(value))
        found |= yaml.safe_load(text)["models"]
    return found


def make_data() -> StudyData:
    """Draw sequences of Beauty's size and skew."""
    draw = np.random.default_rng(0)
    lengths = 3 + draw.geometric(1 / 6, N_USERS)
    popularity = 1 / np.arange(1, N_ITEMS + 1) ** 0.7
    items = draw.choice(N_ITEMS, int(lengths.sum()), p=popularity / popularity.sum())
    offsets = np.concatenate([[0], lengths.cumsum()])
    store = SequenceStore(torch.from_numpy(items.astype(np.int32)), torch.from_numpy(offsets), N_ITEMS)
    return StudyData(store, leave_one_out(store, max_length=MAX_LENGTH))


def serve(name: str, raw: dict[str, Any], data: StudyData, folder: Path) -> Any:
    """Save a ranker as MLflow would, and load it."""
    values = dict(raw.get("network") or {})
    if hasattr(find_family(raw["family"]).config(), "max_length"):
        values["max_length"] = max(MAX_LENGTH, values.get("max_length", 0))
    config = config_from(raw["family"], values)
    ranker = build_ranker(raw["family"], config, N_ITEMS, derive_generator(0, "weights"))
    ranker.observe(data)
    weights = RankerWeights(raw["family"], N_ITEMS, config, ranker.state_dict(), "", "", MAX_LENGTH)
    save_weights(weights, folder / "weights.safetensors")
    Catalogue([f"B{number:09}" for number in range(N_ITEMS)], data.popularity).save(folder / "catalogue.parquet")
    files = {"weights": "weights.safetensors", "catalogue": "catalogue.parquet"}
    mlflow.pyfunc.save_model(
        path=str(folder / "model"),
        python_model=str(MODEL_CODE),
        artifacts={part: str(folder / file) for part, file in files.items()},
        pip_requirements=["numpy"],
        signature=model_signature(config),
    )
    return mlflow.pyfunc.load_model(str(folder / "model"))


def requests_of(count: int, histories: int) -> list[str]:
    """Draw requests of so many histories of 1 to 20 items each."""
    draw = np.random.default_rng(1)
    return [
        json.dumps(
            {
                "dataframe_records": [
                    {"history": [f"B{number:09}" for number in draw.integers(N_ITEMS, size=draw.integers(1, 21))]}
                    for _ in range(histories)
                ]
            }
        )
        for _ in range(count)
    ]


def measure(model: Any, requests: list[str]) -> tuple[list[float], list[float]]:
    """Seconds of each request, the first few left out: by the clock, and of the processor (other work shares it)."""
    schema, by_clock, of_processor = model.metadata.get_input_schema(), [], []
    for number, body in enumerate(requests):
        began, used = time.perf_counter(), time.process_time()
        answer = scoring_server.invocations(body, "application/json", model, schema)
        if number >= min(20, len(requests) // 4):
            by_clock.append(time.perf_counter() - began)
            of_processor.append(time.process_time() - used)
        assert answer.status == 200
    return by_clock, of_processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--rankers", nargs="*")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    _MLFLOW_IS_IN_SERVING_ENVIRONMENT.set("true")  # as its server does
    data, results = make_data(), {}
    for name, raw in configured().items():
        if args.rankers and name not in args.rankers:
            continue
        with tempfile.TemporaryDirectory() as folder:
            model = serve(name, raw, data, Path(folder))
        single = measure(model, requests_of(args.requests, 1))
        many = measure(model, requests_of(4, 1000))
        results[name] = {
            **{
                kind: {
                    "p05_ms": round(1e3 * float(np.quantile(one, 0.05)), 2),
                    "p50_ms": round(1e3 * float(np.quantile(one, 0.5)), 2),
                    "p99_ms": round(1e3 * float(np.quantile(one, 0.99)), 2),
                    "histories_per_second": round(1000 / float(np.median(thousand))),
                }
                for kind, one, thousand in zip(("processor", "clock"), reversed(single), reversed(many), strict=True)
            }
        }
        print(name, results[name], flush=True)
        result = {"benchmark": "serving_latency", "items": N_ITEMS, "k": 10, "rankers": results}
        if args.out:  # after each: hours of work may share the machine
            args.out.write_text(
                json.dumps({**result, "machine": describe_machine(torch.device("cpu"))}, indent=1) + "\n"
            )


if __name__ == "__main__":
    main()
