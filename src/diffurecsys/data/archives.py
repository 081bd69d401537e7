"""Finding and opening the one file of interactions in an archive that came from elsewhere."""

from __future__ import annotations

import lzma
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from diffurecsys.errors import DataError

SUFFIX = ".inter"

_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
)  # while its content is read; bzip2: OSError
_UNREADABLE = (*_BROKEN, NotImplementedError, ValueError, struct.error)  # all that damage makes zipfile raise
_ENCRYPTED_FLAG = 0x1
_LISTED = 20
_MOST_UNPACKED = 64 << 20  # bytes that any member may have; beyond,
_MOST_TIMES = 100  # a member may be so many times larger than it is packed: tables of interactions are below 20
_CHUNK = 1 << 20


class ArchiveError(DataError):
    """An archive is missing, broken or hostile, or does not hold exactly one file of interactions."""


@contextmanager
def open_interactions(path: Path) -> Iterator[BinaryIO]:
    """Open the `.inter` file of a zip, wherever in it that lies, or the `.inter` file that `path` is itself.

    Among several the one that has the archive's name is meant: `ml-100k.inter` in `ml-100k.zip`.

    Raises:
        ArchiveError: naming the archive, what is wrong with it and what to do; also while reading, where the content
            turns out to be broken.
    """
    if _is_plain(path):
        with path.open("rb") as file:
            yield file
        return
    with _open_zip(path) as archive:
        member = _interactions_member(path, archive)
        try:
            stream = archive.open(member)
        except _UNREADABLE as error:
            raise _broken(path, error) from error
        try:
            with stream:
                yield cast(BinaryIO, stream)
        except _BROKEN as error:
            raise _broken(path, error) from error


def member_label(path: Path) -> str:
    """Return what to call the file of interactions in messages: `ml-100k.zip:ml-100k/ml-100k.inter`.

    Raises:
        ArchiveError: as `open_interactions`.
    """
    if _is_plain(path):
        return path.name
    with _open_zip(path) as archive:
        return f"{path.name}:{_interactions_member(path, archive).filename}"


def zip_damage(path: Path) -> str:
    """Read a zip to its end, compare every member with its CRC, and say what is wrong; empty where nothing is."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if reason := _inflation(member):
                    return f"{member.orig_filename} {reason}"
                if not member.flag_bits & _ENCRYPTED_FLAG:
                    _read_through(archive, member)
    except _UNREADABLE as error:
        return str(error) or type(error).__name__
    return ""


def _read_through(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    with archive.open(member) as stream:
        while stream.read(_CHUNK):
            pass


def _is_plain(path: Path) -> bool:
    if not path.is_file():
        raise ArchiveError(f"{path}: no such file; run the ingestion pipeline, or place the archive there")
    return path.suffix.lower() == SUFFIX


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except _UNREADABLE as error:
        raise _broken(path, error) from error
    with archive:
        yield archive


def _broken(path: Path, error: Exception) -> ArchiveError:
    reason = str(error) or type(error).__name__
    return ArchiveError(f"{path}: not a whole zip file ({reason}); remove it and fetch it again")


def _interactions_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = archive.infolist()
    for member in members:
        if reason := _hostility(member):
            raise ArchiveError(
                f"{path}: member {member.orig_filename!r} {reason}; nothing of such an archive is read. "
                "Fetch it from a source that you trust"
            )
    files = [member for member in members if not member.is_dir()]
    tables = [member for member in files if _is_table(member)]
    named = [member for member in tables if _base_name(member) == f"{path.stem}{SUFFIX}"]
    chosen = named if len(tables) > 1 else tables
    if not tables:
        raise ArchiveError(f"{path}: holds no {SUFFIX} file, only {_listing(files)}; is it a RecSysDatasets archive?")
    if len(chosen) != 1:
        raise ArchiveError(
            f"{path}: holds {len(tables)} {SUFFIX} files ({_listing(tables)}) and it is not clear which is meant; "
            f"leave one, or name one of them {path.stem}{SUFFIX}"
        )
    if reason := _inflation(chosen[0]):
        raise ArchiveError(
            f"{path}: {chosen[0].filename} {reason}, as no table of interactions does; if you trust it, unpack it and "
            f"place the {SUFFIX} file instead"
        )
    if chosen[0].flag_bits & _ENCRYPTED_FLAG:
        raise ArchiveError(f"{path}: {chosen[0].filename} is encrypted; unpack it and place the {SUFFIX} file instead")
    return chosen[0]


def _hostility(member: zipfile.ZipInfo) -> str:
    """Say what a member would do on unpacking that an honest one does not; nothing if it is honest."""
    name = member.orig_filename  # as written: `filename` is already cut at a null byte
    if not name:
        return "has no name"
    if name.startswith("/"):
        return "has an absolute path"
    if re.match("[A-Za-z]:", name):
        return "names a drive"
    if "\\" in name or "\0" in name:
        return "has a backslash or a null byte in its path"
    if ".." in name.split("/"):
        return "leads out of the archive's folder"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a symbolic link"
    return ""


def _inflation(member: zipfile.ZipInfo) -> str:
    """Say how far beyond its packed size a member grows by what it declares (more is never read); nothing if usual."""
    if member.file_size <= max(_MOST_UNPACKED, _MOST_TIMES * member.compress_size):
        return ""
    times = member.file_size / max(1, member.compress_size)
    return f"grows from {member.compress_size:,} to {member.file_size:,} bytes ({times:,.0f} times, over {_MOST_TIMES})"


def _is_table(member: zipfile.ZipInfo) -> bool:
    """Whether it is a file of interactions, not what macOS stores beside one."""
    return (
        member.filename.lower().endswith(SUFFIX)
        and not member.filename.startswith("__MACOSX/")
        and not _base_name(member).startswith("._")
    )


def _base_name(member: zipfile.ZipInfo) -> str:
    return member.filename.rsplit("/", 1)[-1]


def _listing(members: list[zipfile.ZipInfo]) -> str:
    names = [member.filename for member in members]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more if names else "nothing"
