"""Ranks of other tools against a split that is small enough to count by hand."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.errors import DataError
from diffurecsys.evaluation.imported_ranks import read_imported_ranks

ITEMS = ["a", "b", "007", "NA", "e"]
USERS = ["anna", "01"]
STORE = SequenceStore.from_lists([[0, 1, 2, 3], [4, 0, 4, 0]], len(ITEMS))  # test targets: NA, and a again
DATA = StudyData(STORE, leave_one_out(STORE, max_length=5))


def read(tmp_path, content, cutoff=2):
    path = tmp_path / "peer.csv"
    path.write_text(content)
    return read_imported_ranks(path, DATA, USERS, ITEMS, cutoff)


def test_ranks_of_users_in_any_order(tmp_path):
    found = read(tmp_path, "user_id,rank,rank_unseen\n01,2,1\nanna,5,2\n")
    assert found.keys() == {"test"}
    ranks = found["test"]
    assert ranks.user.tolist() == [0, 1]
    assert ranks.target.tolist() == [3, 0]
    assert ranks.greater.tolist() == [4, 1]
    assert ranks.greater_unseen.tolist() == [1, 4]  # 01 had a before: it cannot be found
    assert ranks.tied.tolist() == ranks.tied_unseen.tolist() == [0, 0]
    assert ranks.history_length.tolist() == [3, 3]


def test_without_unseen_ranks_those_among_all_stand_for_them(tmp_path, caplog):
    ranks = read(tmp_path, "user_id,rank\n01,2\nanna,3\n")["test"]
    assert ranks.greater_unseen.tolist() == [2, 4]
    assert "can only understate" in caplog.text


LISTS = """user_id,item_id,score
anna,a,0.9
anna,e,0.5
anna,NA,0.5
anna,007,0.7
01,b,3
01,a,2
01,e,3
"""


def test_lists_are_counted(tmp_path):
    ranks = read(tmp_path, LISTS)["test"]
    assert ranks.greater.tolist() == [2, 2]  # a and 007; b and e
    assert ranks.tied.tolist() == [1, 0]  # e
    assert ranks.greater_unseen.tolist() == [0, 4]
    assert ranks.tied_unseen.tolist() == [1, 0]


def test_lists_in_their_order_with_ranks_and_both_splits(tmp_path):
    text = "user_id,item_id,rank,split\n" + "".join(
        f"{user},{item},{place},{split}\n"
        for split in ("validation", "test")
        for user, items in (("anna", ["007", "NA"]), ("01", ["e", "b"]))
        for place, item in enumerate(items, start=1)
    )
    found = read(tmp_path, text)
    assert found["validation"].greater.tolist() == [0, 0]
    assert found["test"].greater.tolist() == [1, 4]  # 01's target a is in no list: never found


def test_parquet_with_numbers(tmp_path):
    path = tmp_path / "peer.parquet"
    pd.DataFrame({"user_id": [7, 8], "rank": [1, 2]}).to_parquet(path)
    found = read_imported_ranks(path, DATA, ["7", "8"], ITEMS, 2)
    assert found["test"].greater.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("user_id,rank\n01,2\n", "1 of 2 test users are missing .first: 'anna'"),
        ("user_id,rank\n01,2\nanna,1\nbert,1\nCLARA,1\n", "2 users are none of the test users .first: 'bert'"),
        ("user_id,rank\n01,2\nanna,1\nanna,2\n", "1 users stand twice .first: 'anna'"),
        ("user_id,rank\n1,2\nanna,1\n", "1 users are none of the test users .first: '1'"),
        ("user_id,rank\n01,0\nanna,1\n", "rank must be a whole number from 1 to 5, got 0 for user '01'"),
        ("user_id,rank\n01,6\nanna,1\n", "rank must be a whole number from 1 to 5, got 6 for user '01'"),
        ("user_id,rank\n01,1.5\nanna,1\n", "rank must be a whole number from 1 to 5, got .*1.5"),
        ("user_id,rank\n01,\nanna,1\n", "rank must be a whole number from 1 to 5, got"),
        ("user_id,rank\n,1\nanna,1\n", "user_id is empty in row 1"),
        ("user,rank\n01,1\n", "must have user_id and rank"),
        ("user_id,score\n01,1\n", "has scores, but no item_id"),
        ("user_id,rank,split\n01,1,train\nanna,1,test\n", "split must be test or validation"),
        ("user_id,rank,split\n01,1,validation\nanna,1,validation\n", "no row of the split test"),
        (LISTS + "01,zzz,1\n", "1 items are not in the catalogue .first: 'zzz'"),
        (LISTS + "01,b,1\n", "1 users stand twice with one item .first: '01'"),
        (LISTS + "01,007,none\n", "score is no number for user '01' and item '007'"),
        ("user_id,item_id,score\n01,a,1\nanna,a,1\n", "lists hold at most 1 items, but metrics go up to 2"),
        ("", "cannot be read"),
    ],
)
def test_what_is_not_of_this_split_is_refused(content, message, tmp_path):
    with pytest.raises(DataError, match=rf"peer\.csv.*{message}"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"user_id,ra\xffnk\n01,2\nanna,3\n", "a column's name is not UTF-8"),
        (b"user_id,rank,rank\n01,2,1\nanna,3,1\n", "names the column 'rank' twice"),
        (b"user_id,rank\n01,2\nanna,3,4\n", "Expected 2 columns, got 3"),
        (b"user_id,rank\n01,2\n\xff,3\n", "invalid UTF8"),
        (b"user_id,rank\n01,2024-01-01\nanna,2024-01-02\n", "rank is date32.*must hold numbers"),
        (b"", "cannot be read"),
    ],
)
def test_a_file_that_is_no_table_of_ranks_is_said_with_its_name(content, said, tmp_path):
    (tmp_path / "peer.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"peer\.csv.*{said}"):
        read_imported_ranks(tmp_path / "peer.csv", DATA, USERS, ITEMS, 2)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"user_id": [[1], [2]], "rank": [1, 2]}, r"user_id is list.*; identifiers are texts or whole numbers"),
        ({"user_id": [1.5, 2.0], "rank": [1, 2]}, "user_id is double; identifiers are texts or whole numbers"),
        ({"user_id": ["01", None], "rank": [1, 2]}, "user_id is empty in row 2"),
        ({"user_id": ["01", "anna"], "rank": [[1], [2]]}, r"rank is list.*; it must hold numbers"),
        ({"user_id": ["01", "anna"], "rank": [1, None]}, "rank must be a whole number from 1 to 5"),
    ],
)
def test_columns_of_parquet_that_hold_no_ranks_are_refused(columns, said, tmp_path):
    path = tmp_path / "peer.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match=rf"peer\.parquet: {said}"):
        read_imported_ranks(path, DATA, USERS, ITEMS, 2)


def test_a_damaged_parquet_file_is_said_with_its_name(tmp_path):
    path = tmp_path / "peer.parquet"
    pq.write_table(pa.table({"user_id": ["01", "anna"], "rank": [1, 2]}), path, compression="zstd")
    content, refused = path.read_bytes(), []
    for place in range(0, len(content), 5):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            read_imported_ranks(path, DATA, USERS, ITEMS, 2)
        except DataError as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert all("peer.parquet" in said for said in refused)
