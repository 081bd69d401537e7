"""Weights on disk."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from diffurecsys.data.packing import pack_histories
from diffurecsys.errors import DataError
from diffurecsys.models import build_ranker
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.models.weights import METADATA_KEY, RankerWeights, digest_state, load_weights, save_weights

CONFIG = DiffuRecConfig(width=8, blocks=2, heads=2, diffusion_steps=4, schedule="cosine")


def make_weights(config: DiffuRecConfig = CONFIG) -> RankerWeights:
    ranker = build_ranker("diffurec", config, 7, torch.Generator().manual_seed(1))
    return RankerWeights("diffurec", 7, config, ranker.state_dict(), identity="made so", data="of this", max_length=5)


def equal(one: RankerWeights, other: RankerWeights) -> bool:
    return one.state.keys() == other.state.keys() and all(torch.equal(one.state[n], other.state[n]) for n in one.state)


def test_everything_comes_back(tmp_path):
    weights = make_weights()
    save_weights(weights, tmp_path / "w.safetensors")
    loaded = load_weights(tmp_path / "w.safetensors")
    assert equal(loaded, weights)
    assert dataclasses.replace(loaded, state={}) == dataclasses.replace(weights, state={})
    batch = pack_histories([[1, 2, 3], [4]])
    scores, again = (w.build().score(batch, torch.Generator().manual_seed(2)) for w in (weights, loaded))
    assert torch.equal(scores, again)
    assert not loaded.build().training


def test_the_same_weights_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_weights(make_weights(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_absent_file_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="train the model first"):
        load_weights(tmp_path / "absent")


def test_what_is_no_weights_file_is_refused(tmp_path):
    save_weights(make_weights(), tmp_path / "whole")
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:-10])
    (tmp_path / "empty").write_bytes(b"")
    for name in ("cut", "empty"):
        with pytest.raises(DataError, match=f"{name} is not a whole safetensors file"):
            load_weights(tmp_path / name)


@pytest.mark.parametrize("metadata", [None, {METADATA_KEY: "not JSON"}, {METADATA_KEY: "[1]"}, {METADATA_KEY: "{}"}])
def test_tensors_of_others_are_refused(metadata, tmp_path):
    save_file({"x": torch.zeros(2)}, tmp_path / "foreign", metadata=metadata)
    with pytest.raises(DataError, match="not of a ranker trained by this version"):
        load_weights(tmp_path / "foreign")


def test_a_parameter_that_is_gone_is_named(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_weights(make_weights(), path)
    monkeypatch.setattr(dataclasses, "fields", lambda kind: ())
    with pytest.raises(DataError, match=r"'diffurec' has no parameter .*width.*: train again with this version"):
        load_weights(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda description: description.update(identity="another"),
        lambda description: description.update(max_length=6),
        lambda description: description["config"].update(diffusion_steps=3),
    ],
)
def test_what_is_said_of_the_tensors_is_sealed_too(change, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(make_weights(), path)
    with safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()[METADATA_KEY])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    change(description)
    save_file(state, path, metadata={METADATA_KEY: json.dumps(description)})
    with pytest.raises(DataError, match="does not hold what was written"):
        load_weights(path)


def test_a_flipped_bit_anywhere_is_refused_or_without_effect(tmp_path):
    path, weights = tmp_path / "w.safetensors", make_weights()
    save_weights(weights, path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    # as many in the header, a few thousand bytes, as in the tensors
    positions = np.concatenate([rng.choice(header, 100, replace=False), rng.integers(header, len(whole), 100)])
    survived = []
    for position in positions:
        flipped = whole[position] ^ 1 << int(rng.integers(8))
        path.write_bytes(whole[:position] + bytes([flipped]) + whole[position + 1 :])
        try:
            loaded = load_weights(path)
        except DataError:
            continue
        assert dataclasses.replace(loaded, state={}) == dataclasses.replace(weights, state={})
        assert equal(loaded, weights)
        survived.append(position)
    assert all(position < header for position in survived)  # there, a space may become a tab


@pytest.mark.parametrize(
    "other",
    [
        {"a": torch.zeros(2, 3)},
        {"b": torch.zeros(3, 2)},
        {"a": torch.zeros(3, 2, dtype=torch.int32)},
        {"a": -torch.zeros(3, 2)},
        {"a": torch.zeros(3, 2), "b": torch.zeros(0)},
    ],
)
def test_the_digest_tells_shape_name_type_and_sign(other):
    assert digest_state(other) != digest_state({"a": torch.zeros(3, 2)})


def test_the_digest_knows_no_order_of_names_and_no_strides():
    one, other = torch.arange(6.0).view(2, 3), torch.ones(2)
    transposed = one.T.contiguous().T
    assert digest_state({"a": one, "b": other}) == digest_state({"b": other, "a": transposed})
