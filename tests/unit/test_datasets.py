"""Catalog datasets: whole or absent, and expirable."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ibis
import pandas as pd
import pytest
import torch
from kedro.io import DatasetError, Version
from matplotlib.figure import Figure
from plotly import graph_objects as go

from diffurecsys.datasets import (
    DamagedFileError,
    IbisFileDataset,
    JSONDataset,
    MatplotlibDataset,
    ParquetDataset,
    PathDataset,
    PlotlyDataset,
    TextDataset,
    WeightsDataset,
    atomic,
)
from diffurecsys.models import build_ranker
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.models.weights import RankerWeights


def _weights() -> RankerWeights:
    config = DiffuRecConfig(width=8, blocks=1, heads=2)
    state = build_ranker("diffurec", config, 5, torch.Generator().manual_seed(1)).state_dict()
    return RankerWeights("diffurec", 5, config, state, identity="made so", data="of this", max_length=3)


CASES = {
    "ibis": (IbisFileDataset, lambda: ibis.memtable({"a": [1, 2]})),
    "parquet": (ParquetDataset, lambda: pd.DataFrame({"a": [1, 2]})),
    "json": (JSONDataset, lambda: {"a": 1}),
    "text": (TextDataset, lambda: "text"),
    "plotly": (PlotlyDataset, lambda: go.Figure(go.Bar(x=["a"], y=[1]))),
    "png": (MatplotlibDataset, Figure),
    "safetensors": (WeightsDataset, _weights),
}


@pytest.fixture(params=CASES)
def case(request):
    return request.param, *CASES[request.param]


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


@pytest.mark.parametrize("version", [None, Version(None, "2026-01-01T00.00.00.000Z")])
def test_a_saved_dataset_exists_alone_in_its_folder(case, version, tmp_path):
    suffix, dataset_class, make = case
    dataset = dataset_class(filepath=f"{tmp_path}/folder/data.{suffix}", version=version)
    assert not dataset.exists()

    dataset.save(make())

    assert dataset.exists()
    assert _files(tmp_path) == [f"data.{suffix}"]


def test_an_expired_dataset_counts_as_missing_until_it_is_saved_again(case, tmp_path):
    suffix, dataset_class, make = case
    dataset = dataset_class(filepath=f"{tmp_path}/data.{suffix}")
    dataset.save(make())

    dataset.expire()
    assert not dataset.exists()

    dataset.save(make())
    assert dataset.exists()


def test_a_save_that_fails_half_way_leaves_the_old_file_whole(tmp_path):
    dataset = JSONDataset(filepath=f"{tmp_path}/data.json")
    dataset.save({"kept": 1})

    with pytest.raises(DatasetError, match="not JSON serializable"):
        dataset.save({"written first": 2, "cannot be written": object()})

    assert dataset.load() == {"kept": 1}
    assert _files(tmp_path) == ["data.json"]


def test_a_versioned_save_that_fails_half_way_leaves_no_version(tmp_path):
    dataset = JSONDataset(filepath=f"{tmp_path}/data.json", version=Version(None, "v1"))

    with pytest.raises(DatasetError, match="not JSON serializable"):
        dataset.save({"written first": 2, "cannot be written": object()})

    assert not dataset.exists()
    assert _files(tmp_path) == []


@pytest.mark.parametrize("version", [None, Version(None, "v1")])
@pytest.mark.parametrize("harm", ["flip", "cut", "zero"])
def test_what_is_no_longer_as_it_was_written_is_not_read(case, harm, version, tmp_path):
    suffix, dataset_class, make = case
    dataset = dataset_class(filepath=f"{tmp_path}/data.{suffix}", version=version)
    assert not dataset.damaged
    dataset.save(make())
    assert not dataset.damaged
    (path,) = (path for path in tmp_path.rglob(f"data.{suffix}") if path.is_file())
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if harm == "flip":
        content[middle] ^= 1
    elif harm == "cut":
        del content[middle:]
    else:
        content[middle:] = bytes(len(content) - middle)
    path.write_bytes(content)

    assert dataset.damaged
    with pytest.raises(DamagedFileError, match=r"is damaged.*--only-missing-outputs"):
        dataset.load()
    if version is None:
        dataset.save(make())
        assert not dataset.damaged


def test_a_kill_between_a_file_and_its_seal_leaves_a_file_that_is_read(tmp_path, monkeypatch):
    dataset = JSONDataset(filepath=f"{tmp_path}/data.json")
    dataset.save({"old": 1})

    def killed(path, digest):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "seal", killed)
    with pytest.raises(KeyboardInterrupt):
        dataset.save({"new": 2})
    assert dataset.load() == {"new": 2}


def test_threads_read_and_write_tables_at_once(tmp_path):
    """As `kedro run --runner=ThreadRunner` has nodes do."""

    def work(number):
        connection = {"backend": "duckdb"}
        made = IbisFileDataset(filepath=f"{tmp_path}/{number}.parquet", file_format="parquet", connection=connection)
        for _ in range(10):
            made.save(ibis.memtable({"a": list(range(1000))}))
            assert made.load().a.sum().execute() == 499_500

    with ThreadPoolExecutor(4) as several:
        list(several.map(work, range(4)))


@pytest.mark.parametrize("folder", ["[a]b*", "100%20", "wh?t", "c#", "é'"])
def test_versions_are_found_in_folders_of_any_name(folder, tmp_path):
    for version in ("v1", "v2"):
        JSONDataset(filepath=f"{tmp_path}/{folder}/data.json", version=Version(None, version)).save({"made": version})
    newest = JSONDataset(filepath=f"{tmp_path}/{folder}/data.json", version=Version(None, "v3"))
    assert newest.exists()
    assert newest.newest_version == "v2"
    assert newest.load() == {"made": "v2"}


def test_weights_come_back_bit_for_bit(tmp_path):
    dataset, weights = WeightsDataset(filepath=f"{tmp_path}/w.safetensors"), _weights()
    dataset.save(weights)
    loaded = dataset.load()

    assert dataclasses.replace(loaded, state={}) == dataclasses.replace(weights, state={})
    assert loaded.state.keys() == weights.state.keys()
    assert all(torch.equal(loaded.state[name], tensor) for name, tensor in weights.state.items())


def test_a_path_dataset_gives_the_path_and_cannot_be_saved(tmp_path):
    dataset = PathDataset(filepath=f"{tmp_path}/checkpoint.pt")
    assert dataset.load() == tmp_path / "checkpoint.pt"
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="written by nodes"):
        dataset.save("anything")
