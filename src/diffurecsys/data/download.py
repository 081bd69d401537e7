"""Obtaining archives: what lies in the raw folder is used; the rest is fetched and placed there whole or not at all.

The checksum of an archive is recorded beside it (`<archive>.sha256`, in the format of the sha256sum command) at first
use and compared at every later one: of an archive with an address another content is an error, of one placed by hand a
warning. What has arrived of a broken download (`<archive>.part`) is continued.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from filelock import FileLock, Timeout

from diffurecsys.data.archives import zip_damage
from diffurecsys.data.specs import HOST, SAMPLE, DatasetSpec, check_mirror
from diffurecsys.data.transfer import PartialFile, TransferError, transfer
from diffurecsys.errors import UserError
from diffurecsys.files import atomic_path
from diffurecsys.objects import ObjectError, fetch_file

logger = logging.getLogger(__name__)

MIRROR_VARIABLE = "DIFFURECSYS_MIRROR"


class DownloadError(UserError, RuntimeError):
    """An archive could not be obtained, or is not the one that was expected."""


@dataclass(frozen=True)
class ArchiveRecord:
    """An archive that lies in the raw folder.

    Attributes:
        path: the archive.
        sha256: of its bytes.
        bytes: its size.
        source: address it was fetched from, `local` if it lay there already, `generated` if it was made.
    """

    path: Path
    sha256: str
    bytes: int
    source: str


def fetch_archive(
    spec: DatasetSpec,
    raw_folder: Path,
    *,
    mirror: str | None = None,
    retries: int = 4,
    back_off: float = 1.0,
    timeout: float = 30.0,
) -> ArchiveRecord:
    """Return the dataset's archive, fetched or generated where it is not in the raw folder yet.

    Several processes may do so at once: one works, the others wait and use its result.

    Args:
        spec: the dataset.
        raw_folder: where archives lie.
        mirror: address of a host, or a place of object storage, with the same paths; None is what DIFFURECSYS_MIRROR
            says, else the public host.
        retries: further tries after a failed one.
        back_off: seconds before the first further try; doubled for each one after it.
        timeout: seconds without a byte after which a try has failed.

    Raises:
        DownloadError: the archive is missing and cannot be fetched, is broken, or has another checksum than it should;
            an archive that was not there is not there then either.
        ValueError: `retries` is negative, or the mirror is not the address of a host.
    """
    if retries < 0:
        raise ValueError(f"download.retries must be at least 0, got {retries}")
    if spec.archive is None:
        raise ValueError(f"dataset {spec.name} has files of its own, and no archive to fetch")
    archive = raw_folder / spec.archive
    if archive.is_file():
        return _accept(spec, archive, archive, "local")
    raw_folder.mkdir(parents=True, exist_ok=True)
    with _alone(archive):
        if archive.is_file():
            return _accept(spec, archive, archive, "local")
        if spec.path is not None:
            address = _address(spec.path, mirror)
            part = PartialFile(archive, _without_user(address))
            try:
                if _speaks_http(address):
                    transfer(address, part, tries=retries + 1, back_off=back_off, timeout=timeout)
                else:
                    fetch_file(address, part.path)  # whose storage has its own way of trying again
            except (TransferError, ObjectError) as error:
                raise DownloadError(f"dataset {spec.name}: {error}. {_other_ways(archive)}") from error
            try:
                return _accept(spec, part.path, archive, part.address)
            finally:
                part.discard()
        if spec.name == SAMPLE:
            return _generate(spec, archive)
    raise DownloadError(
        f"dataset {spec.name}: {archive} is not there, and the registry names no path to fetch it from; "
        "place the file there, or give the dataset a path"
    )


def _generate(spec: DatasetSpec, archive: Path) -> ArchiveRecord:
    from diffurecsys.data.synthetic import write_sample

    _record_of(archive).unlink(missing_ok=True)  # of an earlier sample: the sample is what the generator makes now
    write_sample(archive, seed=0)
    return _accept(spec, archive, archive, "generated")


@contextmanager
def _alone(archive: Path) -> Iterator[None]:
    """Hold the archive's lock, which the operating system frees should the process be killed."""
    lock = FileLock(archive.with_name(f".{archive.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("another process is obtaining %s: waiting for it", archive.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _accept(spec: DatasetSpec, candidate: Path, archive: Path, source: str) -> ArchiveRecord:
    """Check `candidate`, record its checksum and, where it is not the archive yet, make it that."""
    with candidate.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    record = _record_of(archive)
    recorded = _read_record(record) if record.exists() else None
    expected = {value.lower() for value in (spec.sha256, recorded) if value is not None}
    if expected != {digest}:
        _refuse_damaged(candidate, archive, source)
    if spec.sha256 is not None and digest != spec.sha256.lower():
        entry = f"the registry's entry of dataset {spec.name}"
        raise _mismatch(archive, source, digest, spec.sha256.lower(), entry, "correct the entry")
    if recorded is not None and digest != recorded and spec.path is None and candidate == archive:
        logger.warning(
            "%s is not the file that was used before (its sha256 was %s, is %s): the new content is used from now on",
            *(archive, recorded, digest),
        )
        recorded = None  # a file placed by hand is its owner's to correct
    if recorded is not None and digest != recorded:
        raise _mismatch(archive, source, digest, recorded, f"{record}, from its first use,", "remove that file")
    if recorded is None:
        with atomic_path(record) as temporary:
            temporary.write_text(f"{digest}  {archive.name}\n", encoding="utf-8")
    if candidate != archive:
        with candidate.open("rb") as written:
            os.fsync(written.fileno())
        candidate.replace(archive)
    return ArchiveRecord(archive, digest, archive.stat().st_size, source)


def _refuse_damaged(candidate: Path, archive: Path, source: str) -> None:
    damage = zip_damage(candidate) if archive.suffix == ".zip" else ""
    if not damage:
        return
    if candidate == archive:
        raise DownloadError(f"{archive} is not a whole zip file ({damage}); remove it to have it obtained again")
    raise DownloadError(
        f"{source} sent something that is not a whole zip file ({damage}); it was removed. "
        f"Try again, or: {_other_ways(archive)}"
    )


def _mismatch(archive: Path, source: str, actual: str, expected: str, author: str, correction: str) -> DownloadError:
    if source in ("local", "generated"):
        found, otherwise = str(archive), f"remove {archive.name} to have it obtained again."
    else:
        found, otherwise = f"what {source} sent (removed)", f"get it elsewhere. {_other_ways(archive)}."
    return DownloadError(
        f"{found} has the sha256 {actual}, but {author} says {expected}. "
        f"If the new content is wanted, {correction}; otherwise {otherwise}"
    )


def _record_of(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.sha256")


def _read_record(record: Path) -> str:
    words = record.read_text(encoding="utf-8", errors="replace").split()
    if not words or not re.fullmatch("[0-9a-fA-F]{64}", words[0]):
        found = words[0] if words else "nothing"
        raise DownloadError(f"{record} should start with a sha256, 64 hexadecimal digits, not {found!r}; remove it")
    return words[0].lower()


def _address(path: str, mirror: str | None) -> str:
    host = mirror or os.environ.get(MIRROR_VARIABLE) or HOST
    try:
        check_mirror(host)
    except ValueError as error:
        raise ValueError(f"download.mirror (or {MIRROR_VARIABLE}){str(error).removeprefix('mirror')}") from None
    return f"{host.rstrip('/')}/{quote(path) if _speaks_http(host) else path}"


def _speaks_http(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def _without_user(address: str) -> str:
    """The address as it may be logged and stored: without user name and password."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _other_ways(archive: Path) -> str:
    return (
        "Another host with the same paths is named by the parameter download.mirror or the environment variable "
        f"{MIRROR_VARIABLE}; or place the file at {archive} by hand"
    )
