"""Parameters of recommending and of the last fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from diffurecsys.checks import at_least, file_names, one_of

BEST = "best"  # on validation
FINAL = "final"  # what `final_fit` left
Format = Literal["parquet", "csv"]


@dataclass(frozen=True)
class RecommendParameters:
    """What the pipeline `recommend` writes. Files are named relative to data/01_raw.

    Attributes:
        model: `best` on validation, `final` (of the pipeline `final_fit`), or a ranker of the study.
        k: items a user.
        users: file (Parquet or CSV) with USER_ID: whom to recommend to. With ITEM_ID besides, one row an event, oldest
            first, it gives their histories, also of users that training never saw. None: all users of the data.
        exclude_seen: recommend nothing that stands in the history.
        allow: file with ITEM_ID: nothing else is recommended.
        deny: file with ITEM_ID: none of these is.
        titles: file with ITEM_ID and TITLE.
        reverse_steps: for rankers that have them; None: as their configuration says.
        format: of the output.
        chunk: users held at once.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    model: str = BEST
    k: int = 10
    users: str | None = None
    exclude_seen: bool = True
    allow: str | None = None
    deny: str | None = None
    titles: str | None = None
    reverse_steps: int | None = None
    format: Format = "parquet"
    chunk: int = 2048

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        at_least(self, 1, "k", "reverse_steps", "chunk")
        one_of(self, get_args(Format), "format")
        file_names(self, "users", "allow", "deny", "titles")


@dataclass(frozen=True)
class FinalFitParameters:
    """What the pipeline `final_fit` trains on everything.

    Attributes:
        model: `best` on validation, or a ranker of the study.
        epochs: in place of what validation chose.
        warm_start: folder with an earlier `weights.safetensors` and `catalogue.parquet`, as `final_fit` leaves them,
            relative to data/01_raw; training begins there. None: as drawn.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    model: str = BEST
    epochs: int | None = None
    warm_start: str | None = None

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        at_least(self, 1, "epochs")
        file_names(self, "warm_start")
