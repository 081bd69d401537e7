"""Which events are trained on and asked for, against Python lists; and the split as a file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffurecsys.data.split import Spans, StudyData, leave_one_out, load_split, save_split
from diffurecsys.data.store import Examples, SequenceStore
from diffurecsys.errors import DataError

SEQUENCES = [[0, 1, 2, 3], [4, 3, 2, 1, 0], [1, 1, 2]]
sequences = st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=9), min_size=1, max_size=8)


def study(lists=SEQUENCES, max_length: int = 3, n_items: int = 6) -> StudyData:
    store = SequenceStore.from_lists(lists, n_items)
    return StudyData(store, leave_one_out(store, max_length=max_length))


def pairs(store: SequenceStore, examples: Examples) -> list[tuple[list[int], int]]:
    items = store.items.tolist()
    return [(items[s:e], items[e]) for s, e in zip(examples.start.tolist(), examples.end.tolist(), strict=True)]


@given(sequences, st.integers(1, 6))
def test_leave_one_out(lists, max_length):
    store = SequenceStore.from_lists(lists, 10)
    split = leave_one_out(store, max_length=max_length)
    assert pairs(store, split.test) == [(s[:-1][-max_length:], s[-1]) for s in lists]
    assert pairs(store, split.validation) == [(s[:-2][-max_length:], s[-2]) for s in lists]
    spans = zip(split.train.start.tolist(), split.train.end.tolist(), strict=True)
    assert [store.items[start:end].tolist() for start, end in spans] == [s[:-2] for s in lists]
    assert split.test.users(store).tolist() == list(range(len(lists)))
    assert (split.protocol, split.max_length) == ("leave_one_out", max_length)


def test_short_users_are_named():
    store = SequenceStore.from_lists([[0, 1, 2], [0, 1]], 3)
    with pytest.raises(ValueError, match=r"1 users have fewer than 3 events \(first: user 1 with 2\)"):
        leave_one_out(store, max_length=5)


def test_histories_of_no_length_are_refused():
    with pytest.raises(ValueError, match="max_length must be at least 1, got 0"):
        study(max_length=0)


lengths_and_gaps = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=6)


@given(lengths_and_gaps)
def test_spans_say_where_their_events_stand(parts):
    start, end, position = [], [], 0
    for length, gap in parts:
        position += gap
        start.append(position)
        position += length
        end.append(position)
    spans = Spans(torch.tensor(start), torch.tensor(end))
    assert spans.positions().tolist() == [p for s, e in zip(start, end, strict=True) for p in range(s, e)]
    assert spans.n_targets == sum(max(0, length - 1) for length, _ in parts)
    assert len(spans) == len(parts)


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (torch.tensor([2]), torch.tensor([1]), "must not end before it starts"),
        (torch.tensor([0]), torch.tensor([1, 2]), "int64 arrays of one length"),
        (torch.tensor([0], dtype=torch.int32), torch.tensor([1], dtype=torch.int32), "int64 arrays of one length"),
    ],
)
def test_spans_that_make_no_sense_are_refused(start, end, message):
    with pytest.raises(ValueError, match=message):
        Spans(start, end)


def test_popularity_counts_the_training_part_only():
    assert study().popularity.tolist() == [1, 2, 1, 1, 1, 0]  # training parts: 0 1 | 4 3 2 | 1


def later(examples: Examples) -> Examples:
    return Examples(examples.start, examples.end - 1)


CHANGES = {
    "an item": lambda data: dataclasses.replace(
        data, store=SequenceStore.from_lists([[0, 1, 2, 4], *SEQUENCES[1:]], n_items=6)
    ),
    "a border between users": lambda data: dataclasses.replace(
        data, store=SequenceStore.from_lists([[0, 1, 2], [3, 4, 3, 2, 1, 0], SEQUENCES[2]], n_items=6)
    ),
    "the catalogue": lambda data: dataclasses.replace(data, store=SequenceStore.from_lists(SEQUENCES, n_items=7)),
    "what is trained on": lambda data: dataclasses.replace(
        data,
        split=dataclasses.replace(data.split, train=Spans(data.split.train.start, data.split.train.end - 1)),
    ),
    "where training begins": lambda data: dataclasses.replace(
        data,
        split=dataclasses.replace(data.split, train=Spans(data.split.train.start + 1, data.split.train.end)),
    ),
    "validation": lambda data: dataclasses.replace(
        data, split=dataclasses.replace(data.split, validation=data.split.test)
    ),
    "test": lambda data: dataclasses.replace(data, split=dataclasses.replace(data.split, test=data.split.validation)),
    "the protocol": lambda data: dataclasses.replace(data, split=dataclasses.replace(data.split, protocol="temporal")),
    "the longest history": lambda data: dataclasses.replace(data, split=dataclasses.replace(data.split, max_length=4)),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_fingerprint_changes_with(what):
    data = study()
    changed = CHANGES[what](data)
    assert changed.fingerprint != data.fingerprint


def test_the_same_data_have_the_same_fingerprint():
    assert study().fingerprint == study().fingerprint


def test_a_split_comes_back_from_its_file(tmp_path):
    data, path = study(), tmp_path / "deep" / "split.npz"
    save_split(data, path)
    loaded = load_split(path)
    assert loaded.fingerprint == data.fingerprint
    assert torch.equal(loaded.store.items, data.store.items)
    assert pairs(loaded.store, loaded.split.test) == pairs(data.store, data.split.test)
    assert (loaded.split.protocol, loaded.split.max_length) == ("leave_one_out", 3)
    with np.load(path) as plain:  # and can be read without this project
        assert plain["items"].tolist() == [item for sequence in SEQUENCES for item in sequence]


def test_an_absent_split_is_no_damage(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_split(tmp_path / "split.npz")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 half a zip"])
def test_what_is_no_split_is_named(content, tmp_path):
    path = tmp_path / "split.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path} is not a whole split .*run the pipeline preprocessing"):
        load_split(path)


def test_a_file_that_lacks_a_part_is_named(tmp_path):
    path = tmp_path / "split.npz"
    np.savez(path, items=np.zeros(3, np.int32))
    with pytest.raises(DataError, match=f"{path} is not a whole split"):
        load_split(path)


def test_a_changed_number_is_noticed(tmp_path):
    path = tmp_path / "split.npz"
    save_split(study(), path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["items"] = arrays["items"][::-1].copy()
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="does not hold what was written to it"):
        load_split(path)


def test_damage_anywhere_is_refused_or_without_effect(tmp_path):
    data, path = study(), tmp_path / "split.npz"
    save_split(data, path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    messages = []
    for position in rng.choice(len(whole), 200, replace=False):
        path.write_bytes(flipped(whole, position, rng))
        try:
            loaded = load_split(path)
        except DataError as error:
            messages.append(str(error))
        else:
            assert loaded.fingerprint == data.fingerprint
    assert all(str(path) in message for message in messages)
    assert len(messages) > 100  # the others fell on what a zip repeats or ignores, dates above all


def flipped(content: bytes, position: int, rng: np.random.Generator) -> bytes:
    """Return the content with one bit changed."""
    return content[:position] + bytes([content[position] ^ 1 << int(rng.integers(8))]) + content[position + 1 :]


def test_a_save_that_fails_leaves_the_old_split_whole(tmp_path, monkeypatch):
    path = tmp_path / "split.npz"
    save_split(study(), path)
    before = path.read_bytes()

    def fail(file, **_):
        file.write(before[:100])
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        save_split(study(max_length=2), path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["split.npz"]
