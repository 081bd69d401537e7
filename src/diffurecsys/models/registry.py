"""All families of rankers: one file each in `families/`, and those that installed packages add."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType

import torch

from diffurecsys.errors import UserError
from diffurecsys.models import imported
from diffurecsys.models.base import Family, Ranker, RankerConfig

GROUP = "diffurecsys.families"  # of entry points: `mine = "my_package.my_module:FAMILY"`
FOLDER = Path(__file__).with_name("families")


class FamilyError(UserError, ValueError):
    """A family is unknown, is defined twice, or is no family."""


@cache
def families() -> MappingProxyType[str, Family]:
    """Return all families by name: the project's own in the order of their files, then entry points of `GROUP`.

    Raises:
        FamilyError: a name stands twice, or something else than a `Family` was found.
    """
    found: dict[str, tuple[Family, str]] = {}
    for family, origin in (*_own(), *_added()):
        if not isinstance(family, Family):
            raise FamilyError(f"{origin} is {type(family).__name__}, not a diffurecsys.models.base.Family")
        if family.name in found:
            raise FamilyError(f"the family {family.name!r} is defined twice: {found[family.name][1]} and {origin}")
        found[family.name] = family, origin
    return MappingProxyType({name: family for name, (family, _) in found.items()})


def find_family(name: str) -> Family:
    """Return a family.

    Raises:
        FamilyError: there is none of this name; what was perhaps meant.
    """
    if name == imported.FAMILY.name:  # cannot be asked, so it is none of `families`
        return imported.FAMILY
    known = families()
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
        raise FamilyError(f"no family {name!r}; {hint}")
    return known[name]


def build_ranker(family: str, config: RankerConfig, n_items: int, generator: torch.Generator | None = None) -> Ranker:
    """Build a ranker of a family.

    Args:
        family: its name.
        config: its hyper-parameters.
        n_items: size of the catalogue.
        generator: draws the initial weights; None leaves them for saved ones to fill.

    Raises:
        FamilyError: the family is unknown.
    """
    with torch.random.fork_rng(devices=[]):  # module constructors draw from the global stream; leave it as it was
        ranker = find_family(family).build(config, n_items)
    if generator is not None:
        ranker.initialise(generator)
    return ranker


def _own() -> Iterator[tuple[Family, str]]:
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem == "__init__":
            continue
        family = import_module(f"diffurecsys.models.families.{path.stem}").FAMILY
        if family.name != path.stem:
            raise FamilyError(f"{path.name} defines the family {family.name!r}: file and family must have one name")
        yield family, f"families/{path.name}"


def _added() -> Iterator[tuple[Family, str]]:
    for entry in entry_points(group=GROUP):
        yield entry.load(), f"entry point {entry.name} ({entry.value})"
