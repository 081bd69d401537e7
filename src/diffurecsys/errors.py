"""Errors that a user can put right."""

from __future__ import annotations

import sys
from types import TracebackType


class UserError(Exception):
    """Something outside the code is wrong: a file, a parameter, a host. The message says what, where and what to do."""


class DataError(UserError, ValueError):
    """The interactions cannot be used as they are."""


def hide_tracebacks_of_user_errors() -> None:
    """Have an uncaught `UserError` print its message alone; all other errors print as before."""
    previous = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, UserError):
            sys.stderr.write(f"{kind.__name__}: {error}\n")
        else:
            previous(kind, error, traceback)

    sys.excepthook = show
