"""The sections of a report, one file each; those without numbers are left out."""

from __future__ import annotations

from collections.abc import Iterable

from diffurecsys.reporting.paper import PAPER_MODELS
from diffurecsys.reporting.sections import (
    beyond_accuracy,
    cost,
    diffusion,
    groups,
    inference,
    leaderboard,
    maps,
    paper,
    significance,
    sweeps,
    training,
)
from diffurecsys.reporting.sections.base import DIFFUSES, OF_THE_PAPER, TRAINED, Part
from diffurecsys.study import Study

PARTS: tuple[Part, ...] = (
    leaderboard.PART,
    training.PART,
    cost.PART,
    paper.PART,
    significance.PART,
    groups.PART,
    diffusion.PART,
    inference.PART,
    sweeps.PART,
    beyond_accuracy.PART,
    maps.PART,
)


def found_in(study: Study, tables: Iterable[str]) -> frozenset[str]:
    """Return what sections can ask for: names of tables and maps, and properties of the study.

    Args:
        study: the grid.
        tables: datasets that its stages write.
    """
    trained = [TRAINED] if any(spec.trains for spec in study.specs) else []
    papers = [OF_THE_PAPER] if set(PAPER_MODELS) & set(study.names) else []
    diffuse = [DIFFUSES] if diffusion.seeing_noised_targets(study) else []
    return frozenset([*(name.rpartition(".")[2] for name in tables), *trained, *papers, *diffuse])


def made_of(found: frozenset[str]) -> tuple[str, ...]:
    """Names of all datasets that the sections make of a study in which `found` are there."""
    return tuple(one.name for part in PARTS for one in part.made(found))
