"""Which archives are accepted, by their content, checksums and origin."""

from __future__ import annotations

import hashlib
import logging
import sys
from types import ModuleType

import pytest
from archive_server import ARCHIVE, DIGEST, SPEC, Fault, fetch, visible, zip_bytes

from diffurecsys.data import download, transfer
from diffurecsys.data.download import MIRROR_VARIABLE, ArchiveRecord, DownloadError, fetch_archive
from diffurecsys.data.specs import HOST, DatasetSpec


@pytest.mark.parametrize(
    "content", [b"<html>please log in</html>", ARCHIVE[:-100], ARCHIVE.replace(b"mine", b"ours", 1)]
)
def test_what_is_not_a_whole_zip_is_removed(content, raw, server):
    server.files["/folder/mine.zip"] = content
    with pytest.raises(DownloadError, match=r"folder/mine\.zip sent something that is not a whole zip file"):
        fetch(raw, server)
    assert visible(raw) == set()
    server.files["/folder/mine.zip"] = ARCHIVE
    assert fetch(raw, server).sha256 == DIGEST


def test_a_damaged_archive_placed_by_hand_is_named_and_kept(raw, server):
    raw.mkdir()
    (raw / "mine.zip").write_bytes(ARCHIVE[:-100])
    with pytest.raises(DownloadError, match=r"mine\.zip is not a whole zip file .*remove it"):
        fetch(raw, server)
    assert visible(raw) == {"mine.zip"}
    assert not server.requests


def test_the_registrys_checksum_must_be_that_of_what_is_fetched(raw, server):
    wrong = DatasetSpec("mine", "mine.zip", path="folder/mine.zip", sha256="0" * 64)
    with pytest.raises(DownloadError, match=rf"has the sha256 {DIGEST}, but the registry's entry .* says 0{{64}}"):
        fetch(raw, server, wrong)
    assert visible(raw) == set()
    right = DatasetSpec("mine", "mine.zip", path="folder/mine.zip", sha256=DIGEST.upper())
    assert fetch(raw, server, right).sha256 == DIGEST


def test_the_registrys_checksum_must_be_that_of_what_is_there(raw, server):
    fetch(raw, server)
    with pytest.raises(DownloadError, match=r"mine\.zip has the sha256 .* registry's entry .* correct the entry"):
        fetch(raw, server, DatasetSpec("mine", "mine.zip", sha256="0" * 64))
    assert (raw / "mine.zip").exists()


def test_an_archive_that_changed_since_its_first_use_is_refused(raw, server):
    fetch(raw, server)
    (raw / "mine.zip").write_bytes(zip_bytes(seed=1))
    with pytest.raises(DownloadError, match=rf"mine\.zip\.sha256, from its first use, says {DIGEST}.*remove that file"):
        fetch(raw, server)
    (raw / "mine.zip.sha256").unlink()
    assert fetch(raw, server).sha256 != DIGEST


def test_a_new_download_must_have_the_recorded_checksum(raw, server):
    fetch(raw, server)
    (raw / "mine.zip").unlink()
    server.files["/folder/mine.zip"] = zip_bytes(seed=1)
    with pytest.raises(
        DownloadError, match=rf"what {server.address}.* sent \(removed\) has the sha256 .* says {DIGEST}"
    ):
        fetch(raw, server)
    assert visible(raw) == {"mine.zip.sha256"}


@pytest.mark.parametrize("content", ["", "not a checksum  mine.zip\n"])
def test_an_unreadable_record_is_named(content, raw, server):
    fetch(raw, server)
    (raw / "mine.zip.sha256").write_text(content)
    with pytest.raises(DownloadError, match=r"mine\.zip\.sha256 should start with a sha256.*remove it"):
        fetch(raw, server)


def test_the_parameter_comes_before_the_variable_and_that_before_the_public_host(raw, server, monkeypatch):
    addresses: list[str] = []

    def refuse(address: str, *_: object, **__: object) -> None:
        addresses.append(address)
        raise transfer.TransferError("refused")

    monkeypatch.setattr(download, "transfer", refuse)
    for variable, mirror in (
        ("", None),
        ("http://variable/here", None),
        ("http://variable", "http://parameter/there/"),
    ):
        monkeypatch.setenv(MIRROR_VARIABLE, variable)
        with pytest.raises(DownloadError, match="refused"):
            fetch_archive(SPEC, raw, mirror=mirror)
    assert addresses == [
        f"{HOST}folder/mine.zip",
        "http://variable/here/folder/mine.zip",
        "http://parameter/there/folder/mine.zip",
    ]


def test_a_file_placed_by_hand_may_be_corrected(raw, server, caplog):
    by_hand = DatasetSpec("mine", "mine.zip")
    raw.mkdir(exist_ok=True)
    (raw / "mine.zip").write_bytes(ARCHIVE)
    assert fetch(raw, server, by_hand).sha256 == DIGEST
    corrected = zip_bytes(seed=1)
    (raw / "mine.zip").write_bytes(corrected)

    record = fetch(raw, server, by_hand)

    assert record.sha256 == hashlib.sha256(corrected).hexdigest()
    assert any("is not the file that was used before" in message for message in caplog.messages)
    caplog.clear()
    assert fetch(raw, server, by_hand).sha256 == record.sha256
    assert not caplog.messages
    (raw / "mine.zip").write_bytes(corrected[: len(corrected) // 2])
    with pytest.raises(DownloadError, match="not a whole zip file"):
        fetch(raw, server, by_hand)


def test_the_variable_names_a_mirror(raw, server, monkeypatch):
    monkeypatch.setenv(MIRROR_VARIABLE, server.address.rstrip("/"))
    assert fetch_archive(SPEC, raw).source == f"{server.address}folder/mine.zip"


@pytest.mark.parametrize("mirror", ["host/folder", "ftp://host", "/data", "http://", "https://host/?folder=1"])
def test_a_mirror_that_is_no_address_is_refused(mirror, raw):
    with pytest.raises(
        ValueError, match=rf"download\.mirror .* must be an address like .*, got '{mirror}'".replace("?", r"\?")
    ):
        fetch_archive(SPEC, raw, mirror=mirror)


def test_a_password_in_the_mirrors_address_is_not_shown(raw, server, caplog):
    mirror = server.address.replace("//", "//me:secret@")
    server.faults.extend([Fault(bytes_sent=1000), Fault(status=404)])
    with caplog.at_level(logging.DEBUG, "diffurecsys"), pytest.raises(DownloadError) as caught:
        fetch(raw, server, mirror=mirror)
    record = fetch(raw, server, mirror=mirror)
    assert "secret" not in f"{caught.value}{caplog.text}{record}"
    assert record.source == f"{server.address}folder/mine.zip"


def test_negative_retries_are_refused(raw, server):
    with pytest.raises(ValueError, match=r"download\.retries must be at least 0, got -1"):
        fetch(raw, server, retries=-1)


def test_without_a_path_the_file_is_to_be_placed(raw):
    with pytest.raises(DownloadError, match=r"dataset mine: .*mine\.zip is not there.*place the file there"):
        fetch_archive(DatasetSpec("mine", "mine.zip"), raw)


def test_the_sample_is_generated_anew_whatever_was_recorded_of_an_earlier_one(raw, monkeypatch):
    generator = ModuleType("synthetic")
    generator.write_sample = lambda path, *, seed: path.write_bytes(zip_bytes(seed))
    monkeypatch.setitem(sys.modules, "diffurecsys.data.synthetic", generator)
    raw.mkdir()
    (raw / "sample.zip.sha256").write_text(f"{'0' * 64}  sample.zip\n")
    spec = DatasetSpec("sample", "sample.zip")
    assert fetch_archive(spec, raw) == ArchiveRecord(raw / "sample.zip", DIGEST, len(ARCHIVE), "generated")
    assert fetch_archive(spec, raw).source == "local"
