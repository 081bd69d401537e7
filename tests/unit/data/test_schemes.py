"""How training spans are cut: every training target is a label, in as many tokens as can be."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffurecsys.data.schemes import SCHEMES, prefixes, windows
from diffurecsys.data.split import Spans
from diffurecsys.data.store import Examples


@st.composite
def spans(draw) -> Spans:
    """Spans with gaps between them (validation and test items stand there), some of them empty."""
    parts = draw(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=1, max_size=6))
    starts, ends, position = [], [], 0
    for length, gap in parts:
        starts.append(position)
        ends.append(position + length)
        position += length + gap
    return Spans(torch.tensor(starts), torch.tensor(ends))


def labels(examples: Examples, *, everywhere: bool) -> list[int]:
    """Positions of all labels."""
    if not everywhere:
        return examples.end.tolist()
    pairs = zip(examples.start.tolist(), examples.end.tolist(), strict=True)
    return [position for start, end in pairs for position in range(start + 1, end + 1)]


def owner(train: Spans, position: int) -> int:
    (user,) = [u for u in range(len(train)) if train.start[u] <= position < train.end[u]]
    return user


@given(spans(), st.integers(1, 15))
def test_windows_ask_for_what_prefixes_ask_for_each_once_in_as_many_tokens(train, max_length):
    expected = Counter(labels(prefixes(train, max_length), everywhere=False))
    cut = windows(train, max_length)
    assert Counter(labels(cut, everywhere=True)) == expected
    assert set(expected.values()) <= {1}
    assert int(cut.lengths.sum()) == len(expected) == train.n_targets
    assert cut.lengths.numel() == 0 or int(cut.lengths.max()) <= max_length


@pytest.mark.parametrize("cut", [prefixes, windows])
@given(train=spans(), max_length=st.integers(1, 15))
def test_no_example_leaves_its_users_training_part(cut, train, max_length):
    examples = cut(train, max_length)
    for start, end in zip(examples.start.tolist(), examples.end.tolist(), strict=True):
        assert owner(train, start) == owner(train, end)


@given(spans(), st.integers(1, 15))
def test_prefixes_hold_all_that_was_before_or_its_end(train, max_length):
    examples = prefixes(train, max_length)
    for start, end in zip(examples.start.tolist(), examples.end.tolist(), strict=True):
        assert start == max(int(train.start[owner(train, end)]), end - max_length)


def test_the_newest_events_get_the_longest_histories():
    cut = windows(Spans(torch.tensor([0]), torch.tensor([8])), 3)  # seven labels: 1 + 3 + 3
    assert list(zip(cut.start.tolist(), cut.end.tolist(), strict=True)) == [(0, 1), (1, 4), (4, 7)]


@pytest.mark.parametrize("name", SCHEMES)
def test_users_with_nothing_to_learn_give_no_example(name):
    nothing = Spans(torch.tensor([0, 4, 4]), torch.tensor([1, 4, 5]))  # one event, none, one
    assert len(SCHEMES[name].cut(nothing, 5)) == 0
    assert SCHEMES[name].name == name
