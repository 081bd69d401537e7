"""Errors that a user can put right."""

from __future__ import annotations

import sys
from types import TracebackType


class UserError(Exception):
    """Something outside the code is wrong: a file, a parameter, a host. The message says what, where and what to do."""


class UnwritableError(UserError, OSError):
    """A file cannot be written: the disk is full, or what it lies on is not to be written."""


class DataError(UserError, ValueError):
    """The interactions cannot be used as they are."""


def hide_tracebacks_of_user_errors() -> None:
    """Have an uncaught `UserError`, or one that another error was raised from, print its message alone.

    Kedro raises errors of its own from those of datasets. All other errors print as before.
    """
    previous = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if (said := user_error_in(error)) is not None:
            sys.stderr.write(f"{type(said).__name__}: {said}\n")
        else:
            previous(kind, error, traceback)

    sys.excepthook = show


def user_error_in(error: BaseException | None) -> UserError | None:
    """Return the first `UserError` among an error and what it was raised from."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error
