"""Weights on disk."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from diffurecsys.data.packing import pack_histories
from diffurecsys.models import MODELS, ModelConfig, build_model
from diffurecsys.models.weights import ModelWeights, load_weights, save_weights

CONFIG = ModelConfig(width=8, blocks=2, heads=2, diffusion_steps=4)


def _weights(name: str) -> ModelWeights:
    model = build_model(name, 7, CONFIG, torch.Generator().manual_seed(1))
    return ModelWeights(name, 7, CONFIG, model.state_dict())


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_gives_the_same_scores(name, tmp_path):
    weights = _weights(name)
    save_weights(weights, tmp_path / "w.safetensors")
    batch = pack_histories([[1, 2, 3], [4]])

    scores, again = (
        w.build().score(batch, torch.Generator().manual_seed(2))
        for w in (weights, load_weights(tmp_path / "w.safetensors"))
    )
    assert torch.equal(scores, again)


def test_the_same_weights_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_weights(_weights("diffurec"), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_is_no_weights_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="train the model first"):
        load_weights(tmp_path / "absent")
    save_weights(_weights("diffurec"), tmp_path / "whole")
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:-10])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_weights(tmp_path / "cut")
    save_file({"x": torch.zeros(2)}, tmp_path / "foreign")
    with pytest.raises(ValueError, match="not of a model trained here"):
        load_weights(tmp_path / "foreign")
