"""The model as MLflow serves it, saved and loaded with MLflow's own functions."""

from __future__ import annotations

import os
import threading
import time
from unittest.mock import patch

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
import torch
import uvicorn
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

from diffurecsys.models import build_ranker
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.models.weights import RankerWeights, save_weights
from diffurecsys.serving.catalogue import Catalogue
from diffurecsys.serving.recommender import Recommender
from diffurecsys.tracking.runs import MODEL_CODE, model_signature

NAMES = [f"item {number}" for number in range(12)]
JSON = {"Content-Type": "application/json"}
FILES = {"weights": "weights.safetensors", "catalogue": "catalogue.parquet"}
SAMPLING = DiffuRecConfig(
    width=8, blocks=1, heads=2, diffusion_steps=4, schedule="cosine", embedding_std=1.0, delta=0.5
)
PLAIN = DiffuRecConfig(width=8, blocks=1, heads=2, delta=0.0)


@pytest.fixture(scope="module")
def save(tmp_path_factory):
    """Factory of loaded models and the files they were saved from."""

    def make(config: DiffuRecConfig, names: list[str] = NAMES):
        folder = tmp_path_factory.mktemp("served")
        ranker = build_ranker("diffurec", config, len(names), torch.Generator().manual_seed(0))
        weights = RankerWeights("diffurec", len(names), config, ranker.state_dict(), "", "", max_length=3)
        save_weights(weights, folder / "weights.safetensors")
        Catalogue(names, torch.arange(len(names))).save(folder / "catalogue.parquet")
        artifacts = {name: str(folder / file) for name, file in FILES.items()}
        mlflow.pyfunc.save_model(
            path=str(folder / "model"),
            python_model=str(MODEL_CODE),
            artifacts=artifacts,
            pip_requirements=["numpy"],
            signature=model_signature(config),
        )
        return mlflow.pyfunc.load_model(str(folder / "model")), Recommender.load(**artifacts)

    return make


@pytest.fixture(scope="module")
def plain(save):
    return save(PLAIN)


def histories(*rows) -> pd.DataFrame:
    return pd.DataFrame({"history": list(rows)})


def items(found) -> list[list[str]]:
    return found["items"].tolist()


def test_it_recommends_what_the_recommender_does(plain):
    model, recommender = plain
    rows = [NAMES[:5], NAMES[3:4]]
    for exclude in (False, True):
        found = model.predict(histories(*rows), params={"k": 4, "exclude_history": exclude})
        expected = recommender.recommend(rows, 4, exclude_history=exclude)
        assert items(found) == [list(row.items) for row in expected]
        assert found["scores"].tolist() == [list(row.scores) for row in expected]
        assert found["source"].tolist() == ["model", "model"]


def test_ten_items_unless_more_or_fewer_are_asked_for(plain):
    model, _ = plain
    (ten,), (three,) = (items(model.predict(histories(NAMES[:2]), params=how)) for how in (None, {"k": 3}))
    assert len(set(ten)) == 10
    assert three == ten[:3]


def test_rows_that_nobody_can_recommend_for_fail_no_batch(plain):
    model, _ = plain
    rows = [["never seen"], [*NAMES[:2], "never seen"], [None, NAMES[0]], NAMES[0], [1.5], []]
    found = model.predict(histories(*rows), params={"k": 2})
    assert found["source"].tolist() == ["popularity", "model", "none", "none", "none", "popularity"]
    assert items(found)[0] == items(found)[5] == ["item 11", "item 10"]
    assert items(found)[1] == items(model.predict(histories(NAMES[:2]), params={"k": 2}))[0]
    assert found["unknown"].tolist() == [1, 1, 0, 0, 0, 0]
    assert [bool(error) for error in found["error"]] == [False, False, True, True, True, False]


def test_whole_numbers_stand_for_their_digits(save):
    numbers = [str(number) for number in range(100, 112)]
    model, _ = save(PLAIN, numbers)
    found = model.predict(histories([100, 103], ["100", "103"], np.array([100, 103])))
    assert items(found)[0] == items(found)[1] == items(found)[2]
    assert set(found["source"]) == {"model"}


def test_reverse_steps_are_a_parameter_only_where_there_are_any(save, plain):
    sampling, recommender = save(SAMPLING)
    for steps in (1, 4):
        found = sampling.predict(histories(NAMES[:2]), params={"k": 12, "reverse_steps": steps})
        (expected,) = recommender.recommend([NAMES[:2]], 12, exclude_history=False, steps=steps)
        assert items(found) == [list(expected.items)]
    names = {spec.name for spec in plain[0].metadata.signature.params}
    assert names == {"k", "exclude_history"}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"reverse_steps": 9}, "reverse_steps must lie in 1 … 4, got 9"),
        ({"reverse_steps": 0}, "reverse_steps must lie in 1 … 4, got 0"),
        ({"reverse_steps": -1}, "reverse_steps must lie in 1 … 4, got -1"),
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"k": None}, "k must be a whole number, got None"),
        ({"k": 10**400}, "k must be a whole number, got 10{39}…$"),
        ({"kk": 3}, "no such parameter: kk; this model has exclude_history, k, reverse_steps"),
        ({"k": "many"}, "k"),
        ({"exclude_history": "yes"}, "exclude_history"),
    ],
)
def test_every_parameter_is_checked(params, message, save, sampling):
    with pytest.raises(MlflowException, match=message):
        sampling.predict(histories(NAMES[:2]), params=params)


@pytest.fixture(scope="module")
def sampling(save):
    return save(SAMPLING)[0]


@pytest.fixture(scope="module")
def address(plain):
    """Of MLflow's own server, in a thread of this process."""
    with patch.dict(os.environ):  # the server marks its process's environment, which later tests' processes inherit
        config = uvicorn.Config(scoring_server.init(plain[0]), host="127.0.0.1", port=0, log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/invocations"
        server.should_exit = True
        thread.join()


def test_errors_are_sent_without_the_servers_paths(address):
    cases = [
        "{",
        "[]",
        '{"dataframe_split": 3}',
        '{"dataframe_split": {"columns": 1}}',
        '{"dataframe_records": [{"past": ["item 1"]}]}',
        '{"dataframe_records": [{"history": ["item 1"]}], "params": {"kk": 3}}',
    ]
    for body in cases:
        answer = requests.post(address, data=body, headers=JSON, timeout=30)
        assert answer.status_code in (400, 500), body
        assert "Traceback" not in answer.text
        assert ".py" not in answer.text
    assert "no such parameter: kk" in answer.text
    good = '{"dataframe_records": [{"history": ["item 1"]}, {"history": 3}], "params": {"k": 2}}'
    answer = requests.post(address, data=good, headers=JSON, timeout=30)
    first, second = answer.json()["predictions"]
    assert (len(first["items"]), first["source"], first["error"]) == (2, "model", None)
    assert (second["items"], second["source"]) == ([], "none")
    assert second["error"].startswith("a history is a list")


@pytest.mark.parametrize(("delta", "default"), [(0.001, 1), (0.5, 4)])
def test_the_default_of_reverse_steps_is_the_configuration_s(delta, default):
    config = DiffuRecConfig(width=8, heads=2, diffusion_steps=4, schedule="cosine", delta=delta)
    (spec,) = [spec for spec in model_signature(config).params if spec.name == "reverse_steps"]
    assert spec.default == default
