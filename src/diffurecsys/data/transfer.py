"""Fetching one file over HTTP on a bad line: tries with exponential back-off, and continuation of what has arrived."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from rich import get_console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from diffurecsys.files import atomic_path

logger = logging.getLogger(__name__)

LONGEST_WAIT = 60.0  # seconds
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
CHUNK = 1 << 13  # bytes: when the line breaks, less than this of what has arrived is lost


class TransferError(RuntimeError):
    """A file could not be fetched."""


class _TransientError(Exception):
    """A try failed in a way that the next one may not; `wait` seconds were asked for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class PartialFile:
    """What has arrived of a file so far: `<target>.part`, and beside it which version of what address it is.

    Without that a part is worthless: its continuation might be of another file.

    Attributes:
        path: the bytes.
        address: where they come from, as it may be shown.
    """

    def __init__(self, target: Path, address: str) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self.address = address
        self._origin = target.with_name(f"{target.name}.part.json")

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self) -> str | None:
        """Return the host's mark of the version that the bytes belong to; None where they cannot be continued."""
        try:
            origin = json.loads(self._origin.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(origin, dict) or origin.get("address") != self.address or not self.size:
            return None
        version = origin.get("version")
        return version if isinstance(version, str) else None

    def begin(self, version: str | None) -> None:
        """Drop what has arrived: bytes of `version` follow."""
        self.discard()
        with atomic_path(self._origin) as temporary:
            temporary.write_text(json.dumps({"address": self.address, "version": version}), encoding="utf-8")

    def discard(self) -> None:
        """Remove what has arrived."""
        self._origin.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def transfer(address: str, part: PartialFile, *, tries: int, back_off: float, timeout: float) -> None:
    """Fetch the file at `address` into `part`; what has arrived stays there when that fails.

    Args:
        address: http or https.
        part: takes the bytes; what it already holds of the same version is not fetched again.
        tries: how often to try in all.
        back_off: seconds before the second try; doubled for each one after it.
        timeout: seconds without a byte after which a try has failed.

    Raises:
        TransferError: the host refuses, or all tries failed.
    """
    for attempt in range(1, tries + 1):
        try:
            _try(address, part, timeout)
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            failure = _TransientError(_reason(error))
        except requests.RequestException as error:
            raise TransferError(f"{part.address}: {_reason(error).replace(address, part.address)}") from error
        except OSError as error:
            raise TransferError(f"{part.path} cannot be written: {error}") from error
        except _TransientError as error:
            failure = error
        else:
            return
        if attempt < tries:
            wait = min(max(back_off * 2 ** (attempt - 1), failure.wait), LONGEST_WAIT)
            logger.warning("%s: try %d of %d: %s; again in %g s", part.address, attempt, tries, failure, wait)
            time.sleep(wait)
    count = "1 try" if tries == 1 else f"{tries} tries"
    raise TransferError(f"{part.address}: not fetched in {count}, the last one: {failure}")


def _try(address: str, part: PartialFile, timeout: float) -> None:
    with _ask(address, part, timeout) as response:
        if response.status_code != requests.codes.partial_content:
            part.begin(_version(response))
        total = _total(response)
        with part.path.open("ab") as file, _progress(part, total) as advance:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                advance(len(chunk))
    if total is not None and part.size != total:
        raise _TransientError(f"{part.size:,} of {total:,} bytes arrived")


def _ask(address: str, part: PartialFile, timeout: float) -> requests.Response:
    """Ask for what is missing, or for the whole file where the host cannot or should not continue."""
    version = part.version()
    if version is not None:
        response = _get(address, timeout, {"Range": f"bytes={part.size}-", "If-Range": version})
        if response.status_code == requests.codes.partial_content and _continues(response, part.size, version):
            logger.info("%s: continued after %s bytes", part.address, f"{part.size:,}")
            return response
        if response.status_code not in (requests.codes.partial_content, requests.codes.range_not_satisfiable):
            return _expect_whole(response, part)
        response.close()
        part.discard()
    return _expect_whole(_get(address, timeout, {}), part)


def _get(address: str, timeout: float, headers: dict[str, str]) -> requests.Response:
    # identity: lengths and ranges count the bytes of the file itself
    return requests.get(address, headers={"Accept-Encoding": "identity", **headers}, stream=True, timeout=timeout)


def _expect_whole(response: requests.Response, part: PartialFile) -> requests.Response:
    status = f"{response.status_code} {response.reason or ''}".strip()
    if response.status_code == requests.codes.ok:
        return response
    response.close()
    if response.status_code in TRANSIENT_STATUSES:
        asked = response.headers.get("Retry-After", "")
        raise _TransientError(f"the host answered {status}", float(asked) if asked.isdecimal() else 0.0)
    raise TransferError(f"{part.address}: the host answered {status}")


def _continues(response: requests.Response, size: int, version: str) -> bool:
    """Whether the answer starts where the part ends, and is not of another version."""
    starts = response.headers.get("Content-Range", "").startswith(f"bytes {size}-")
    return starts and _version(response) in (version, None)


def _total(response: requests.Response) -> int | None:
    """Size of the whole file, of which an answer to a range may hold less than was asked for."""
    if response.status_code == requests.codes.partial_content:
        size = response.headers["Content-Range"].rpartition("/")[2]
    else:
        size = response.headers.get("Content-Length", "")
    return int(size) if size.isdecimal() else None


def _version(response: requests.Response) -> str | None:
    """The mark by which a host knows a version again; a weak ETag does not promise the same bytes."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _reason(error: requests.RequestException) -> str:
    """Say in one line what requests says in several exceptions, one inside the other."""
    if isinstance(error, requests.Timeout):
        return "the host did not answer in time"
    cause: BaseException = error
    while isinstance(inner := getattr(cause, "reason", None) or (cause.args or [None])[-1], Exception):
        cause = inner
    return f"{type(error).__name__}: {cause}"


@contextmanager
def _progress(part: PartialFile, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a download's progress; yields the callback for bytes that arrived. Silent when not on a terminal."""
    console = get_console()
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        task = progress.add_task(part.path.stem, total=total, completed=part.size)
        yield lambda count: progress.advance(task, count)
