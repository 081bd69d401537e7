"""How the training spans are cut into examples: every prefix, or whole windows that are asked at every position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffurecsys.data.split import Spans
from diffurecsys.data.store import Examples


@dataclass(frozen=True)
class Scheme:
    """One way to train.

    Attributes:
        name: as in `training.scheme`.
        everywhere: whether an example asks at every position, or at the end of its history alone.
        cut: makes examples of at most so many events from spans.
    """

    name: str
    everywhere: bool
    cut: Callable[[Spans, int], Examples]


def prefixes(train: Spans, max_length: int) -> Examples:
    """Make an example of every training event that follows another one, with all before it as its history.

    Args:
        train: the users' training events.
        max_length: histories keep their last `max_length` events.
    """
    position = train.positions()
    first = torch.repeat_interleave(train.start, train.lengths)
    follows = position > first
    end, first = position[follows], first[follows]
    return Examples(torch.maximum(first, end - max_length), end)


def windows(train: Spans, max_length: int) -> Examples:
    """Cut every user's training events, from the end backwards, so that each is a label exactly once.

    A window's labels are `items[start + 1 : end + 1]`, one for each event of its history `items[start:end]`. So there
    are as many tokens as labels, where `prefixes` repeats an event for every later one.

    Args:
        train: the users' training events.
        max_length: of a window's history.
    """
    labels = (train.lengths - 1).clamp(min=0)
    count = torch.div(labels + max_length - 1, max_length, rounding_mode="floor")  # windows a user
    user = torch.repeat_interleave(torch.arange(len(train)), count)
    number = count[user] - 1 - _within(count)  # 0 is the newest; oldest first
    end = train.end[user] - 1 - number * max_length
    return Examples(torch.maximum(train.start[user], end - max_length), end)


def _within(count: Tensor) -> Tensor:
    """0 … count-1 for each user in turn."""
    return torch.arange(int(count.sum())) - torch.repeat_interleave(count.cumsum(0) - count, count)


SCHEMES: dict[str, Scheme] = {
    "prefix": Scheme("prefix", everywhere=False, cut=prefixes),
    "window": Scheme("window", everywhere=True, cut=windows),
}
