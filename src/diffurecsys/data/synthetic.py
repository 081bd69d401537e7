"""The embedded sample: made-up interactions with the structure that sequential recommendation is about.

Items belong to series, to be taken one after another. A user follows a few series at once, continues each where they
left it, now and then skips an instalment, drops a series for a new one, and picks something popular in between. So
the next item depends on the last one, but also on where the user stands in the other series: more than a first-order
model can know. Series, and with them items, are popular by Zipf's law.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffurecsys.files import atomic_path

MEMBER = "sample.inter"
HEADER = "user_id:token\titem_id:token\ttimestamp:float"

N_USERS = 1000
N_SERIES = 24
SERIES_LENGTH = 15
N_ITEMS = N_SERIES * SERIES_LENGTH
ZIPF_EXPONENT = 0.75
SERIES_AT_ONCE = 2
STAY = 0.35  # probability of continuing the series of the last step
SKIP = 0.15  # of leaving out one instalment
STROLL = 0.12  # of taking something popular, in no order
CHANGE = 0.06  # of dropping a series for a new one
MIN_LENGTH, MEAN_LENGTH, MAX_LENGTH = 2, 13.0, 60  # of a user's sequence; the shortest fall below the 5-core

BEGIN = 1_420_070_400  # 2015-01-01, seconds
SPAN_DAYS = 720
DAY = 86_400
SAME_SESSION = 0.6  # probability that the next interaction follows within minutes
SESSION_GAP_SECONDS = 600.0
MEAN_GAP_DAYS = 9.0
DAY_RESOLUTION = 0.3  # share of users whose times are known by the day only: many ties

_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = 0o644 << 16
_UNIX = 3


@dataclass
class _Walk:
    """A user's state: the series followed, the next instalment of each, and which one was last continued."""

    series: list[int]
    following: list[int]
    last: int = 0


def write_sample(path: Path, *, seed: int = 0) -> None:
    """Write the sample as a zip archive with one atomic file.

    The same seed gives the same bytes. About 1,000 users, 350 items and 12,500 interactions, in the
    order in which they happened; users and items with very few interactions are among them.

    Args:
        path: of the zip; whole or absent at any moment.
        seed: of everything random.
    """
    text = "\n".join([HEADER, *_lines(np.random.default_rng(seed))]) + "\n"
    member = zipfile.ZipInfo(MEMBER, date_time=_ZIP_DATE)
    member.create_system, member.external_attr = _UNIX, _FILE_MODE
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(member, text)


def _lines(rng: np.random.Generator) -> list[str]:
    """All users' interactions in the order in which they happened."""
    series_popularity = np.arange(1, N_SERIES + 1) ** -ZIPF_EXPONENT
    series_popularity /= series_popularity.sum()
    names = rng.permutation(N_ITEMS)  # an item's name tells nothing about it
    interactions = []
    for user in range(N_USERS):
        length = int(np.clip(MIN_LENGTH + rng.exponential(MEAN_LENGTH - MIN_LENGTH), MIN_LENGTH, MAX_LENGTH))
        items = _user_items(rng, length, series_popularity)
        happened, written = _user_times(rng, length)
        interactions += [(*row, user) for row in zip(happened, items, written, strict=True)]
    interactions.sort(key=lambda row: row[0])
    return [f"u{user:04d}\ti{names[item]:03d}\t{written}" for _, item, written, user in interactions]


def _user_items(rng: np.random.Generator, length: int, popularity: np.ndarray) -> list[int]:
    """Let one user walk through the catalogue; item = series * SERIES_LENGTH + instalment."""
    series = [int(s) for s in rng.choice(N_SERIES, SERIES_AT_ONCE, replace=False, p=popularity)]
    walk = _Walk(series, [0] * SERIES_AT_ONCE)
    items = []
    for _ in range(length):
        if rng.random() < STROLL:
            instalment = min(int(rng.exponential(2.0)), SERIES_LENGTH - 1)
            items.append(int(rng.choice(N_SERIES, p=popularity)) * SERIES_LENGTH + instalment)
        else:
            items.append(_continue(rng, walk, popularity))
    return items


def _continue(rng: np.random.Generator, walk: _Walk, popularity: np.ndarray) -> int:
    """Take the next instalment of one of the series followed."""
    if rng.random() > STAY:
        walk.last = (walk.last + 1) % SERIES_AT_ONCE
    instalment = walk.following[walk.last] + int(rng.random() < SKIP)
    if instalment >= SERIES_LENGTH or rng.random() < CHANGE:
        walk.series[walk.last] = int(rng.choice(N_SERIES, p=popularity))
        instalment = 0
    walk.following[walk.last] = instalment + 1
    return walk.series[walk.last] * SERIES_LENGTH + instalment


def _user_times(rng: np.random.Generator, length: int) -> tuple[list[int], list[int]]:
    """Seconds at which a user's interactions happened, and what is written down of them."""
    gaps = np.where(
        rng.random(length) < SAME_SESSION,
        rng.exponential(SESSION_GAP_SECONDS, length),
        rng.exponential(MEAN_GAP_DAYS * DAY, length),
    )
    happened = (BEGIN + rng.random() * SPAN_DAYS * DAY + np.cumsum(gaps)).astype(np.int64)
    resolution = DAY if rng.random() < DAY_RESOLUTION else 1
    return happened.tolist(), (happened // resolution * resolution).tolist()
