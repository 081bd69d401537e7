"""Opening the interactions of an archive: wherever they lie, and never those of a hostile or broken one."""

from __future__ import annotations

import contextlib
import random
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffurecsys.data.archives import ArchiveError, member_label, open_interactions, zip_damage

TABLE = b"user_id:token\titem_id:token\ttimestamp:float\n1\t2\t3\n"


def _zip(path: Path, *members: str | zipfile.ZipInfo, content: bytes = TABLE, compression=zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for member in members:
            archive.writestr(member, content)
    return path


def _read(path: Path) -> bytes:
    with open_interactions(path) as stream:
        return stream.read()


@pytest.mark.parametrize(
    "member", ["ml-100k.inter", "ml-100k/ml-100k.inter", "a/b/other name.inter", "./ml-100k.inter", "ML-100K.INTER"]
)
def test_the_member_is_found_wherever_it_lies(member, tmp_path):
    path = _zip(tmp_path / "ml-100k.zip", "ml-100k.item", "README", member)
    assert _read(path) == TABLE
    assert member_label(path) == f"ml-100k.zip:{member}"


def test_a_plain_file_is_opened_as_it_is(tmp_path):
    path = tmp_path / "mine.inter"
    path.write_bytes(TABLE)
    assert _read(path) == TABLE
    assert member_label(path) == "mine.inter"


def test_what_macos_stores_beside_the_member_is_ignored(tmp_path):
    path = _zip(tmp_path / "mine.zip", "folder/mine.inter", "__MACOSX/folder/._mine.inter", "folder/._mine.inter")
    assert member_label(path) == "mine.zip:folder/mine.inter"


def test_among_several_the_one_with_the_archives_name_is_meant(tmp_path):
    path = _zip(tmp_path / "ml-100k.zip", "ml-100k.train.inter", "folder/ml-100k.inter", "ml-100k.test.inter")
    assert member_label(path) == "ml-100k.zip:folder/ml-100k.inter"


@pytest.mark.parametrize("members", [("train.inter", "test.inter"), ("a/mine.inter", "b/mine.inter")])
def test_several_without_a_clear_one_are_refused(members, tmp_path):
    path = _zip(tmp_path / "mine.zip", *members)
    with pytest.raises(ArchiveError, match=rf"holds 2 \.inter files \({members[0]}, {members[1]}\).*mine\.inter"):
        _read(path)


def test_an_archive_without_interactions_lists_what_it_has(tmp_path):
    path = _zip(tmp_path / "mine.zip", "ratings.dat", "folder/users.dat")
    with pytest.raises(ArchiveError, match=r"mine\.zip: holds no \.inter file, only ratings\.dat, folder/users\.dat"):
        _read(path)


def test_the_listing_of_a_large_archive_is_cut(tmp_path):
    path = _zip(tmp_path / "mine.zip", *(f"{number}.txt" for number in range(100)))
    with pytest.raises(ArchiveError, match=r"19\.txt and 80 more;"):
        _read(path)


def test_an_empty_archive_is_refused(tmp_path):
    with pytest.raises(ArchiveError, match="only nothing"):
        _read(_zip(tmp_path / "mine.zip"))


def _symlink(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.create_system = 3
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ("/etc/passwd", "has an absolute path"),
        ("../outside.inter", "leads out of the archive's folder"),
        ("folder/../../outside", "leads out of the archive's folder"),
        ("C:/outside.inter", "names a drive"),
        ("c:outside", "names a drive"),
        ("folder\\outside.inter", "backslash"),
        ("..\\outside", "backslash"),
        (_symlink("link.inter"), "is a symbolic link"),
    ],
)
def test_one_hostile_member_makes_the_whole_archive_refused(member, reason, tmp_path):
    path = _zip(tmp_path / "mine.zip", "mine.inter", member)
    for use in (_read, member_label):
        with pytest.raises(ArchiveError, match=reason):
            use(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.zip"]


def test_a_name_that_hides_its_end_behind_a_null_byte_is_refused(tmp_path):
    path = _zip(tmp_path / "mine.zip", "mine.inter~evil")
    path.write_bytes(path.read_bytes().replace(b"mine.inter~evil", b"mine.inter\0evil"))
    with pytest.raises(ArchiveError, match="null byte"):
        _read(path)


def test_an_encrypted_member_is_refused(tmp_path):
    path = _zip(tmp_path / "mine.zip", "mine.inter")
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"mine\.inter is encrypted; unpack it"):
        _read(path)


def test_a_missing_file_is_named(tmp_path):
    for name in ("mine.zip", "mine.inter"):
        with pytest.raises(ArchiveError, match=rf"{name}: no such file; run the ingestion"):
            _read(tmp_path / name)


def test_something_that_is_no_zip_is_refused(tmp_path):
    path = tmp_path / "mine.zip"
    path.write_text("<html>not found</html>")
    with pytest.raises(ArchiveError, match=r"mine\.zip: not a whole zip file .*remove it"):
        _read(path)


def test_damage_inside_a_member_is_an_error_while_reading(tmp_path):
    content = random.Random(0).randbytes(50_000)
    path = _zip(tmp_path / "mine.zip", "mine.inter", content=content, compression=zipfile.ZIP_STORED)
    whole = path.read_bytes()
    path.write_bytes(whole[:20_000] + bytes([whole[20_000] ^ 1]) + whole[20_001:])
    with pytest.raises(ArchiveError, match=r"not a whole zip file \(Bad CRC"):
        _read(path)
    assert "Bad CRC" in zip_damage(path)


def test_errors_of_whoever_reads_pass_unchanged(tmp_path):
    path = _zip(tmp_path / "mine.zip", "mine.inter")
    with pytest.raises(KeyError, match="mine"), open_interactions(path):
        raise KeyError("mine")


def test_a_whole_zip_has_no_damage(tmp_path):
    assert zip_damage(_zip(tmp_path / "mine.zip", "mine.inter", "README")) == ""


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 10_000), value=st.integers(0, 255), length=st.integers(1, 4), cut=st.booleans())
def test_whatever_is_damaged_the_table_is_right_or_the_archive_refused(position, value, length, cut, tmp_path):
    path = _zip(tmp_path / "mine.zip", "folder/", "folder/mine.inter", "README")
    content = bytearray(path.read_bytes())
    position %= len(content)
    if cut:
        del content[position:]
    else:
        content[position : position + length] = bytes([value] * len(content[position : position + length]))
    path.write_bytes(content)
    zip_damage(path)
    with contextlib.suppress(ArchiveError):
        assert _read(path) == TABLE


def test_real_archives_open(shared_data):
    for path in sorted(shared_data.glob("*.zip")):
        with open_interactions(path) as stream:
            assert stream.readline().startswith(b"user_id:token\t")
        assert member_label(path).startswith(f"{path.name}:")
        assert zip_damage(path) == ""


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_member_that_grows_as_no_table_does_is_refused_before_it_is_unpacked(compression, tmp_path):
    path = tmp_path / "made.zip"
    with zipfile.ZipFile(path, "w", compression) as archive, archive.open("made.inter", "w") as member:
        member.write(TABLE)
        for _ in range(65):
            member.write(b"\n" * (1 << 20))
    message = r"made\.zip: made\.inter grows from [\d,]+ to 68,157,4\d\d bytes .* over 100\).* unpack it"
    with pytest.raises(ArchiveError, match=message):
        _read(path)
    assert "grows from" in zip_damage(path)


def test_a_small_member_may_be_packed_well(tmp_path):
    path = _zip(tmp_path / "made.zip", "made.inter", content=TABLE * 50_000)  # 2.5 MB, packed 200 times smaller
    assert path.stat().st_size * 100 < len(TABLE) * 50_000
    assert _read(path) == TABLE * 50_000


def test_a_member_without_a_name_is_refused(tmp_path):
    path = _zip(tmp_path / "made.zip", zipfile.ZipInfo(""), "made.inter")
    with pytest.raises(ArchiveError, match=r"made\.zip: member '' has no name"):
        _read(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_whose_content_is_damaged_names_the_archive(compression, tmp_path):
    path = _zip(tmp_path / "made.zip", "made.inter", compression=compression)
    content, refused = path.read_bytes(), []
    begin = content.index(b"made.inter") + len("made.inter")
    for place in range(begin, content.index(b"PK\x01\x02")):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            assert _read(path) == TABLE
        except ArchiveError as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert all("made.zip: not a whole zip file" in said for said in refused)
