"""A served model and the bodies of requests to it, by the server's own application without the network between."""

from __future__ import annotations

import asyncio
import json
import math
import random
from pathlib import Path
from typing import Any

import mlflow
import torch
from mlflow.pyfunc import scoring_server

from diffurecsys.errors import UserError
from diffurecsys.models import build_ranker
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.models.weights import RankerWeights, save_weights
from diffurecsys.serving.catalogue import Catalogue
from diffurecsys.serving.recommender import Recommender
from diffurecsys.tracking.runs import MODEL_CODE, model_signature
from fuzz_inputs import Fault, Silent, Target, mutate

ITEMS = [*(f"item {n}" for n in range(8)), "7", "é", "<script>", '"']
BODIES: tuple[dict[str, Any], ...] = (
    {"dataframe_records": [{"history": ["item 1", "item 2"]}, {"history": ["item 3"]}]},
    {"dataframe_records": [{"history": ["item 5", 7, "unheard"]}], "params": {"k": 3, "exclude_history": True}},
    {"dataframe_split": {"columns": ["history"], "data": [[["item 1", "item 4"]], [["é"]]]}, "params": {"k": 2}},
    {"inputs": [{"history": ["item 1", "item 2"]}, {"history": ["item 6"]}]},
    {"instances": [{"history": ["item 1"]}]},
)
KEYS = {"k", "exclude_history"}


class RefusedError(UserError):
    """The server answered 4xx with a message."""


class Served:
    """The application of `mlflow models serve` around a tiny model, asked directly."""

    def __init__(self, folder: Path) -> None:
        config = DiffuRecConfig(width=8, blocks=1, heads=2, delta=0.0)
        ranker = build_ranker("diffurec", config, len(ITEMS), torch.Generator().manual_seed(0))
        weights = RankerWeights("diffurec", len(ITEMS), config, ranker.state_dict(), "", "", max_length=3)
        artifacts = {name: str(folder / name) for name in ("weights", "catalogue")}
        save_weights(weights, Path(artifacts["weights"]))
        Catalogue(ITEMS, torch.arange(len(ITEMS))).save(Path(artifacts["catalogue"]))
        mlflow.pyfunc.save_model(
            path=str(folder / "model"),
            python_model=str(MODEL_CODE),
            artifacts=artifacts,
            pip_requirements=["numpy"],
            signature=model_signature(config),
        )
        self._folder = str(folder)
        self._recommender = Recommender.load(**artifacts)
        self._app = scoring_server.init(mlflow.pyfunc.load_model(str(folder / "model")))
        self._loop = asyncio.new_event_loop()

    def make(self, draw: random.Random) -> bytes:
        """Mutate one of the bodies."""
        return mutate(json.dumps(draw.choice(BODIES), ensure_ascii=draw.random() < 0.5).encode(), draw)

    def read(self, content: bytes) -> object:
        """Post the body.

        Raises:
            RefusedError: 400 with a message that shows no path and no stack.
            RuntimeError: any other answer.
        """
        status, answer = self._loop.run_until_complete(self._post(content))
        text = answer.decode()
        if status == 200:
            return [row["items"] for row in json.loads(text, parse_constant=_refuse)["predictions"]]
        message = json.loads(text)["message"]
        shows = any(part in text for part in (self._folder, "Traceback", "site-packages", "stack_trace"))
        if status != 400 or not message or shows:
            raise RuntimeError(f"{status}: {text}")
        raise RefusedError(message)

    async def _post(self, content: bytes) -> tuple[int, bytes]:
        sent: list[dict[str, Any]] = []
        waiting = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if waiting:
                return waiting.pop()
            await asyncio.sleep(3600)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/invocations",
            "raw_path": b"/invocations",
            "root_path": "",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        await self._app(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in sent)
        return next(message["status"] for message in sent if "status" in message), body

    def expect(self, content: bytes) -> Any:
        """Ask the recommender itself."""
        try:
            body = json.loads(content.decode("utf-8", "surrogatepass"), parse_constant=_refuse)  # as Python takes bytes
        except (ValueError, RecursionError):
            return Fault()
        histories = rows(body)
        params = body.get("params") or {} if isinstance(body, dict) else None
        if histories is None or not isinstance(params, dict) or not params.keys() <= KEYS:
            return Silent()
        plain = all(isinstance(one, list) and all(isinstance(item, str) for item in one) for one in histories)
        k, exclude = params.get("k", 10), params.get("exclude_history", False)
        if not plain or type(k) is not int or type(exclude) is not bool or not 1 <= k < 2**31:
            return Silent()
        found = self._recommender.recommend(histories, k, exclude_history=exclude)
        return [list(row.items) for row in found]


def rows(body: object) -> list[Any] | None:
    """Return a body's histories; None where it is none of the usual forms."""
    if not isinstance(body, dict):
        return None
    forms = body.keys() - {"params"}
    if forms == {"dataframe_split"}:
        table = body["dataframe_split"]
        usual = isinstance(table, dict) and table.keys() == {"columns", "data"} and table["columns"] == ["history"]
        found = table["data"] if usual else None
        if not isinstance(found, list) or not all(isinstance(row, list) and len(row) == 1 for row in found):
            return None
        return [row[0] for row in found] or None
    if len(forms) != 1 or not forms <= {"dataframe_records", "inputs", "instances"}:
        return None
    found = body[forms.pop()]
    if not isinstance(found, list) or not all(isinstance(row, dict) and row.keys() == {"history"} for row in found):
        return None
    return [row["history"] for row in found] or None


def _refuse(word: str) -> float:
    if not math.isfinite(float(word)):
        raise ValueError(f"{word} is no JSON")
    return float(word)


def served_targets(folder: Path) -> list[Target]:
    """Return the served model."""
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    served = Served(folder)
    return [Target("HTTP bodies", "", served.read, served.expect, served.make)]
