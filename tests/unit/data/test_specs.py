"""Entries of the registry of datasets: which ones can work, as written in code and as read from configuration."""

from __future__ import annotations

import dataclasses

import pytest
from pydantic import TypeAdapter, ValidationError

from diffurecsys.data.specs import HOST, Counts, DatasetSpec

ML_100K = {
    "name": "ml-100k",
    "archive": "ml-100k.zip",
    "path": "MovieLens/ml-100k.zip",
    "raw_counts": [{"users": 943, "items": 1682, "interactions": 100000}],
    "core_counts": [{"users": 943, "items": 1349, "interactions": 99287}],
}


def test_an_entry_needs_no_more_than_a_name_and_an_archive():
    spec = DatasetSpec("mine", "mine.inter")
    assert (spec.path, spec.sha256, spec.min_rating) == (None, None, None)
    assert (spec.raw_counts, spec.core_counts, spec.core_k) == ((), (), 5)


def test_an_entry_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DatasetSpec("mine", "mine.zip").archive = "other.zip"


def test_the_host_can_be_joined_with_a_path():
    assert HOST.startswith("https://")
    assert HOST.endswith("/")


def test_an_entry_is_read_from_configuration_with_its_counts_typed():
    spec = TypeAdapter(DatasetSpec).validate_python(ML_100K)
    assert isinstance(spec, DatasetSpec)
    assert spec.raw_counts == (Counts(943, 1682, 100_000),)
    assert spec.core_counts == (Counts(943, 1349, 99_287),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": " "}, r"name must not be empty"),
        ({"archive": "../ml-100k.zip"}, r"archive must be a plain file name .* got '\.\./ml-100k\.zip'"),
        ({"archive": "MovieLens/ml-100k.zip"}, r"folders belong into path"),
        ({"archive": "C:ml-100k.zip"}, r"archive"),
        ({"archive": "folder\\ml-100k.zip"}, r"archive"),
        ({"archive": ".zip"}, r"archive"),
        ({"archive": ""}, r"archive"),
        ({"archive": "ml-100k.tar.gz"}, r"ending in \.zip or \.inter, got 'ml-100k\.tar\.gz'"),
        ({"path": "/MovieLens/ml-100k.zip"}, r"path must be relative to the host"),
        ({"path": "https://elsewhere/ml-100k.zip"}, r"another host is named by download\.mirror"),
        ({"path": "MovieLens/../../ml-100k.zip"}, r"path"),
        ({"path": "MovieLens/"}, r"path"),
        ({"path": ""}, r"path"),
        ({"core_k": 0}, r"core_k must be at least 1, got 0"),
        ({"sha256": "abc"}, r"sha256 must be 64 hexadecimal digits, got 'abc'"),
        ({"min_rating": float("nan")}, r"min_rating must be a finite number, got nan"),
        ({"raw_counts": [{"users": -1, "items": 1, "interactions": 1}]}, r"count of users must be at least 0, got -1"),
        ({"raw_counts": [{"users": 1, "items": 1}]}, r"interactions"),
        ({"checksum": "abc"}, r"checksum"),
    ],
)
def test_an_entry_that_cannot_work_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(DatasetSpec).validate_python({**ML_100K, **change})


@pytest.mark.parametrize("archive", ["Amazon_Toys_and_Games.zip", "ml-1m.inter", "Yelp 2018 (v1.0).zip"])
def test_ordinary_file_names_are_accepted(archive):
    assert DatasetSpec("mine", archive, path=f"folder/{archive}").archive == archive


def test_counts_read_well_in_messages():
    assert str(Counts(943, 1682, 100_000)) == "943 users, 1,682 items, 100,000 interactions"
