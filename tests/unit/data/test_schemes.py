"""Two ways to cut the same training events into examples."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from diffurecsys.data.schemes import prefixes, windows
from diffurecsys.data.split import Spans


@st.composite
def spans(draw):
    """Users' events one after another, with gaps: what is held out, and users without training events."""
    start, end, position = [], [], 0
    for length in draw(st.lists(st.integers(0, 30), min_size=1, max_size=12)):
        position += draw(st.integers(0, 2))
        start.append(position)
        end.append(position + length)
        position += length
    return Spans(torch.tensor(start), torch.tensor(end))


@given(spans(), st.integers(1, 12))
def test_every_training_target_is_a_label_just_once_under_both(train, max_length):
    asked = prefixes(train, max_length)
    cut = windows(train, max_length)
    labels = [position for start, end in zip(cut.start, cut.end, strict=True) for position in range(start + 1, end + 1)]
    assert sorted(labels) == sorted(asked.end.tolist())
    assert len(labels) == train.n_targets


@given(spans(), st.integers(1, 12))
def test_windows_are_no_longer_than_allowed_and_stay_with_their_user(train, max_length):
    cut = windows(train, max_length)
    assert bool((cut.lengths <= max_length).all())
    for start, end in zip(cut.start, cut.end, strict=True):
        assert any(first <= start and end < last for first, last in zip(train.start, train.end, strict=True))


@given(spans(), st.integers(1, 12))
def test_only_a_users_oldest_window_is_shorter_than_allowed(train, max_length):
    """The last one ends at the end, so that the newest events have the longest histories."""
    cut = windows(train, max_length)
    for start, length in zip(cut.start, cut.lengths, strict=True):
        assert length == max_length or start in train.start


def test_a_window_is_cut_from_the_end():
    cut = windows(Spans(torch.tensor([10]), torch.tensor([18])), 3)  # events 10 … 17, labels 11 … 17
    assert list(zip(cut.start.tolist(), cut.end.tolist(), strict=True)) == [(10, 11), (11, 14), (14, 17)]
