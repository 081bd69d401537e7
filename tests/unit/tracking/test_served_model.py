"""The model as MLflow serves it, saved and loaded with MLflow's own functions."""

from __future__ import annotations

import mlflow
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from diffurecsys.models import build_ranker
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.models.weights import RankerWeights, save_weights
from diffurecsys.serving.recommender import Recommender
from diffurecsys.tracking.runs import MODEL_CODE, model_signature

NAMES = [f"item {number}" for number in range(12)]
SAMPLING = DiffuRecConfig(
    width=8, blocks=1, heads=2, diffusion_steps=4, schedule="cosine", embedding_std=1.0, delta=0.5
)
PLAIN = DiffuRecConfig(width=8, blocks=1, heads=2, delta=0.0)


@pytest.fixture(scope="module")
def save(tmp_path_factory):
    """Factory of loaded models and the files they were saved from."""

    def make(config: DiffuRecConfig, *, popularity: bool = False):
        folder = tmp_path_factory.mktemp("served")
        ranker = build_ranker("diffurec", config, len(NAMES), torch.Generator().manual_seed(0))
        weights = RankerWeights("diffurec", len(NAMES), config, ranker.state_dict(), "", "", max_length=3)
        save_weights(weights, folder / "weights.safetensors")
        number = pa.array(range(len(NAMES)), pa.int32())
        pq.write_table(pa.table({"item": number, "item_id": NAMES}), folder / "vocabulary.parquet")
        counts = pa.table({"item": number, "training_popularity": pa.array(range(len(NAMES)), pa.int64())})
        pq.write_table(counts, folder / "popularity.parquet")
        artifacts = {
            "weights": str(folder / "weights.safetensors"),
            "item_vocabulary": str(folder / "vocabulary.parquet"),
            **({"item_popularity": str(folder / "popularity.parquet")} if popularity else {}),
        }
        mlflow.pyfunc.save_model(
            path=str(folder / "model"),
            python_model=str(MODEL_CODE),
            artifacts=artifacts,
            pip_requirements=["diffurecsys"],
            signature=model_signature(config),
        )
        return mlflow.pyfunc.load_model(str(folder / "model")), artifacts

    return make


@pytest.fixture(scope="module")
def plain(save):
    return save(PLAIN)


def histories(*rows) -> pd.DataFrame:
    return pd.DataFrame({"history": list(rows)})


def test_it_recommends_what_the_recommender_does(plain):
    model, artifacts = plain
    rows = [NAMES[:5], NAMES[3:4]]
    expected = Recommender.load(artifacts["weights"], artifacts["item_vocabulary"])
    for exclude in (False, True):
        found = model.predict(histories(*rows), params={"k": 4, "exclude_history": exclude})
        assert found == [list(row.items) for row in expected.recommend(rows, 4, exclude_history=exclude)]


def test_ten_items_unless_more_or_fewer_are_asked_for(plain):
    model, _ = plain
    (ten,), (three,) = model.predict(histories(NAMES[:2])), model.predict(histories(NAMES[:2]), params={"k": 3})
    assert len(set(ten)) == 10
    assert three == ten[:3]


def test_a_row_of_unknown_items_fails_no_batch(plain):
    model, _ = plain
    none, some = model.predict(histories(["never seen"], [*NAMES[:2], "never seen"]))
    assert none == []
    assert [some] == model.predict(histories(NAMES[:2]))


def test_with_popularity_at_hand_it_gets_popular_items(save):
    model, _ = save(PLAIN, popularity=True)
    (popular,) = model.predict(histories(["never seen"]), params={"k": 2})
    assert popular == ["item 11", "item 10"]


def test_reverse_steps_are_a_parameter_only_where_there_are_any(save, plain):
    sampling, artifacts = save(SAMPLING)
    few, many = (sampling.predict(histories(NAMES[:2]), params={"k": 12, "reverse_steps": steps}) for steps in (1, 4))
    expected = Recommender.load(artifacts["weights"], artifacts["item_vocabulary"])
    for steps, found in ((1, few), (4, many)):
        assert found[0] == list(expected.recommend([NAMES[:2]], 12, exclude_history=False, steps=steps)[0].items)
    with pytest.raises(ValueError, match="steps must lie in 1 … 4, got 9"):
        sampling.predict(histories(NAMES[:2]), params={"reverse_steps": 9})
    names = {spec.name for spec in plain[0].metadata.signature.params}
    assert names == {"k", "exclude_history"}


@pytest.mark.parametrize(("delta", "default"), [(0.001, 1), (0.5, 4)])
def test_the_default_of_reverse_steps_is_the_configuration_s(delta, default):
    config = DiffuRecConfig(width=8, heads=2, diffusion_steps=4, schedule="cosine", delta=delta)
    (spec,) = [spec for spec in model_signature(config).params if spec.name == "reverse_steps"]
    assert spec.default == default
