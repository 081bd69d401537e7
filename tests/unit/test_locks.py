"""The two lists of exact versions say the same."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
DIGEST = re.compile(r"--hash=sha256:[0-9a-f]{64}$")


def _entries(name: str) -> dict[str, list[str]]:
    """Hashes by `name==version`, names spelt as the index does."""
    found: dict[str, list[str]] = {}
    for line in (PROJECT / name).read_text(encoding="utf-8").splitlines():
        part = line.strip().removesuffix("\\").strip()
        if line[:1].strip():
            package, _, version = part.partition(" ")[0].partition("==")
            found[f"{re.sub('[-_.]+', '-', package).lower()}=={version}"] = []
        else:
            assert DIGEST.match(part), part
            found[next(reversed(found))].append(part)
    return found


def test_hashes_are_of_the_versions_that_are_locked():
    plain, hashed = _entries("requirements.lock"), _entries("requirements-hashes.lock")
    assert plain.keys() <= hashed.keys()
    assert all(hashed.values())
    others = {entry.partition("==")[0] for entry in hashed.keys() - plain.keys()}  # of other machines alone
    named = ("cuda-", "nvidia-", "triton", "setuptools", "appnope", "colorama", "pywin32", "waitress", "psutil", "cffi")
    assert all(name.startswith(named) for name in others), others


def test_no_lock_names_a_place():
    for lock in PROJECT.glob("requirements*.lock"):
        assert not re.search(r"://|--(extra-)?index-url|--find-links", lock.read_text(encoding="utf-8")), lock.name
