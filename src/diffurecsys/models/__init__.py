"""Rankers: one protocol (`base`), one file a family (`families`), one registry."""

from diffurecsys.models.base import (
    Capabilities,
    CountRanker,
    Family,
    Ranker,
    RankerConfig,
    VectorRanker,
    scorer,
)
from diffurecsys.models.registry import FamilyError, build_ranker, families, find_family

__all__ = [
    "Capabilities",
    "CountRanker",
    "Family",
    "FamilyError",
    "Ranker",
    "RankerConfig",
    "VectorRanker",
    "build_ranker",
    "families",
    "find_family",
    "scorer",
]
