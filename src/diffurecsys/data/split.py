"""Which events a model may learn from, and whom it is asked about: everything that training and ranking read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from diffurecsys.columns import TEST_TARGET, VALIDATION_TARGET
from diffurecsys.columns import TRAINING as TRAINING_PART
from diffurecsys.data.store import Examples, SequenceStore
from diffurecsys.errors import DataError
from diffurecsys.files import atomic_path

Protocol = Literal["leave_one_out", "temporal"]
LEAVE_ONE_OUT: Protocol = "leave_one_out"
TEMPORAL: Protocol = "temporal"
PROTOCOLS = (LEAVE_ONE_OUT, TEMPORAL)

Learnt = Literal["training", "training_and_validation", "everything"]
TRAINING: Literal["training"] = "training"
WITH_VALIDATION: Literal["training_and_validation"] = "training_and_validation"
EVERYTHING: Literal["everything"] = "everything"


@dataclass(frozen=True)
class Spans:
    """The training events of every user, as positions in a store's `items`.

    Attributes:
        start: int64 `[users]`; training events = `items[start:end]`, may be none.
        end: int64 `[users]`.
    """

    start: Tensor
    end: Tensor

    def __post_init__(self) -> None:
        """Check that no span runs backwards.

        Raises:
            ValueError: lengths or types differ, or an end lies before its start.
        """
        if self.start.shape != self.end.shape or self.start.dtype != torch.int64 or self.end.dtype != torch.int64:
            raise ValueError("start and end must be int64 arrays of one length")
        if bool((self.end < self.start).any()):
            raise ValueError("a span must not end before it starts")

    def __len__(self) -> int:
        """Number of users."""
        return len(self.start)

    @property
    def lengths(self) -> Tensor:
        """int64 `[users]`: training events."""
        return self.end - self.start

    @property
    def n_targets(self) -> int:
        """Training events that follow another one: what can be learnt to be predicted."""
        return int((self.lengths - 1).clamp(min=0).sum())

    def positions(self) -> Tensor:
        """int64 `[training events]`: where they stand, user by user."""
        lengths = self.lengths
        first = torch.repeat_interleave(self.start - (lengths.cumsum(0) - lengths), lengths)
        return torch.arange(len(first)) + first


@dataclass(frozen=True)
class Split:
    """What is trained on, and one example for each user that is asked about.

    Attributes:
        train: the events that may be learnt from.
        validation: histories and targets for choosing.
        test: histories and targets for reporting.
        protocol: how the events were divided, one of `PROTOCOLS`.
        max_length: histories keep their last events, so many at most.
    """

    train: Spans
    validation: Examples
    test: Examples
    protocol: str
    max_length: int


@dataclass(frozen=True)
class StudyData:
    """All that training, ranking and serving read: sequences and their split.

    Attributes:
        store: all sequences.
        split: what is trained on and asked for.
    """

    store: SequenceStore
    split: Split

    @cached_property
    def popularity(self) -> Tensor:
        """int64 `[n_items]`: interactions in the training part."""
        return torch.bincount(self.store.items[self.split.train.positions()].long(), minlength=self.store.n_items)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of sequences, numbering and split: equal where every result would be."""
        split = self.split
        digest = hashlib.sha256(f"{self.store.n_items} {split.protocol} {split.max_length}".encode())
        for part in (self.store.items, self.store.offsets, split.train, split.validation, split.test):
            arrays = (part,) if isinstance(part, Tensor) else (part.start, part.end)
            for array in arrays:
                digest.update(array.contiguous().numpy().tobytes())
        return digest.hexdigest()


def learning_from(data: StudyData, learnt: Learnt) -> StudyData:
    """Return the data with other events to be learnt from; whom to ask, and items' numbers, stay.

    Args:
        data: sequences and split.
        learnt: `training`, the split's own; `training_and_validation`, for rankers that were chosen already: users'
            events up to their last validation target; `everything`: all events, the test targets too.
    """
    if learnt == TRAINING:
        return data
    store, split = data.store, data.split
    if learnt == EVERYTHING:
        train = Spans(store.offsets[:-1].clone(), store.offsets[1:].clone())
    else:
        users = split.validation.users(store)
        end = split.train.end.scatter_reduce(0, users, split.validation.end + 1, "amax")
        train = Spans(split.train.start, end)
    return StudyData(store, replace(split, train=train))


def leave_one_out(store: SequenceStore, *, max_length: int) -> Split:
    """Split each user's sequence: last item = test, the one before = validation, the rest = training.

    Args:
        store: the sequences; users need at least three events.
        max_length: histories keep their last `max_length` items.

    Returns:
        Validation and test in user order, exactly one example a user.

    Raises:
        ValueError: a user has fewer than three events, or `max_length` is below one.
    """
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1, got {max_length}")
    short = torch.nonzero(store.lengths < 3).flatten()
    if len(short):
        raise ValueError(
            f"{len(short)} users have fewer than 3 events (first: user {int(short[0])} with "
            f"{int(store.lengths[short[0]])}); leave-one-out needs a history, a validation and a test item. "
            "Filter with a user threshold of at least 3."
        )
    first, last = store.offsets[:-1], store.offsets[1:] - 1

    def examples(end: Tensor) -> Examples:
        return Examples(torch.maximum(first, end - max_length), end)

    return Split(Spans(first, last - 1), examples(last - 1), examples(last), LEAVE_ONE_OUT, max_length)


def temporal(store: SequenceStore, parts: Tensor, *, max_length: int) -> Split:
    """Split at points in time that hold for all users.

    Args:
        store: the sequences.
        parts: int8 `[events]`: which part each event of the store belongs to, see `diffurecsys.data.temporal`.
        max_length: histories keep their last `max_length` items.

    Returns:
        Validation and test in user order, at most one example a user; users that training never saw have empty spans.

    Raises:
        DataError: nobody is asked about on validation or test.
        ValueError: `max_length` is below one, or a user's training events are not the first ones.
    """
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1, got {max_length}")
    first, user = store.offsets[:-1], torch.repeat_interleave(store.lengths)
    trained = parts == TRAINING_PART
    end = first + torch.bincount(user[trained], minlength=store.n_users)
    if int(trained.sum()) and not bool((torch.nonzero(trained).flatten() < end[user[trained]]).all()):
        raise ValueError("training events must come before all others of their user")

    def examples(part: int, name: str) -> Examples:
        target = torch.nonzero(parts == part).flatten()
        if not len(target):
            raise DataError(
                f"no user can be asked about on {name}: none has an item that training knows after that point, and one "
                "before it. Choose other split.validation_from and split.test_from, or lower preprocessing.item_k"
            )
        return Examples(torch.maximum(first[user[target]], target - max_length), target)

    return Split(
        Spans(first, end),
        examples(VALIDATION_TARGET, "validation"),
        examples(TEST_TARGET, "test"),
        TEMPORAL,
        max_length,
    )


def save_split(data: StudyData, path: Path) -> None:
    """Write sequences and split as plain NumPy arrays, which need nothing of this project to be read."""
    split = data.split
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            items=data.store.items.numpy(),
            offsets=data.store.offsets.numpy(),
            n_items=np.int64(data.store.n_items),
            **{
                f"{name}_{end}": getattr(part, end).numpy()
                for name, part in (("train", split.train), ("validation", split.validation), ("test", split.test))
                for end in ("start", "end")
            },
            protocol=np.str_(split.protocol),
            max_length=np.int64(split.max_length),
            fingerprint=np.str_(data.fingerprint),
        )


def load_split(path: Path) -> StudyData:
    """Read what `save_split` wrote.

    Raises:
        DataError: the file is damaged or holds something else.
    """
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        store = SequenceStore(
            torch.from_numpy(arrays["items"]), torch.from_numpy(arrays["offsets"]), int(arrays["n_items"])
        )
        parts = {
            name: tuple(torch.from_numpy(arrays[f"{name}_{end}"]) for end in ("start", "end"))
            for name in ("train", "validation", "test")
        }
        split = Split(
            Spans(*parts["train"]),
            Examples(*parts["validation"]),
            Examples(*parts["test"]),
            str(arrays["protocol"]),
            int(arrays["max_length"]),
        )
        data, recorded = StudyData(store, split), str(arrays["fingerprint"])
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib, NumPy and this project all have their own
        raise DataError(
            f"{path} is not a whole split ({error}): delete it and run the pipeline preprocessing"
        ) from error
    if data.fingerprint != recorded:
        raise DataError(f"{path} does not hold what was written to it: delete it and run the pipeline preprocessing")
    return data
