"""Recommendations written to files: what stands in them, and that they are whole or absent."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
import torch

from diffurecsys.data.store import SequenceStore
from diffurecsys.errors import DataError
from diffurecsys.models import Ranker, RankerConfig
from diffurecsys.serving.batch import KnownUsers, write_recommendations
from diffurecsys.serving.recommender import Recommender
from diffurecsys.serving.tables import Asked, read_asked, read_items, read_titles

ITEMS = ["007", "1e5", "NA", "true", "=cmd"]
USERS = ["01", "nan", "ü x"]


class NextByNumber(Ranker):
    def __init__(self):
        super().__init__(RankerConfig(), len(ITEMS))

    def score(self, batch, generator, steps=None):
        scores = -torch.arange(float(self.n_items)).repeat(len(batch), 1)
        for row, end in enumerate(batch.offsets[1:].tolist()):
            scores[row, (int(batch.items[end - 1]) + 1) % self.n_items] = 9.0
        return scores


@pytest.fixture
def known():
    return KnownUsers(SequenceStore.from_lists([[0, 1], [2], [1, 0, 4]], len(ITEMS)), USERS, ITEMS)


@pytest.fixture
def recommender():
    return Recommender(NextByNumber(), ITEMS, 10, torch.tensor([1, 5, 2, 0, 3]))


def rows(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    kinds = {name: pa.string() for name in ("user_id", "item_id", "title")}
    return pcsv.read_csv(
        path, convert_options=pcsv.ConvertOptions(column_types=kinds, strings_can_be_null=False)
    ).to_pylist()


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_identifiers_come_back_as_they_were_whatever_the_chunks(kind, chunk, known, recommender, tmp_path):
    path, done = tmp_path / f"out.{kind}", []
    titles = {"NA": 'Not, "applicable"', "=cmd": "<script>"}
    written = write_recommendations(
        recommender, known, known, path, file_format=kind, k=2, chunk=chunk, titles=titles, on_users=done.append
    )
    assert [(row["user_id"], row["rank"], row["item_id"]) for row in rows(path)] == [
        ("01", 1, "NA"), ("01", 2, "true"), ("nan", 1, "true"), ("nan", 2, "007"), ("ü x", 1, "NA"), ("ü x", 2, "true"),
    ]  # fmt: skip
    assert rows(path)[0]["title"] == titles["NA"]
    assert [row["score"] for row in rows(path)[:2]] == [9.0, -3.0]
    assert (written.users, written.rows, written.sources) == (3, 6, {"model": 3})
    assert done[-1] == 3
    assert written.preview.num_rows <= 6


def test_histories_may_be_given_and_unknown_users_get_popular_items(known, recommender, tmp_path):
    asked = [Asked("new", ["1e5", "gone"]), Asked("nobody"), Asked("01", ["true"]), Asked("empty", [])]
    written = write_recommendations(
        recommender, asked, known, tmp_path / "out.parquet", file_format="parquet", k=1, chunk=3
    )
    found = [(row["user_id"], row["item_id"], row["source"]) for row in rows(tmp_path / "out.parquet")]
    assert found == [
        ("new", "NA", "model"),
        ("nobody", "1e5", "popularity"),
        ("01", "=cmd", "model"),
        ("empty", "1e5", "popularity"),
    ]
    assert written.sources == {"model": 2, "popularity": 2}
    assert written.unknown_items == 1


def test_identifiers_get_the_type_of_the_datas_files_back(recommender, tmp_path):
    numbers = KnownUsers(SequenceStore.from_lists([[0, 1], [2]], len(ITEMS)), ["12", "-9007199254740993"], ITEMS)
    path, types = tmp_path / "out.parquet", {"user_id": "BIGINT", "item_id": "VARCHAR"}
    write_recommendations(recommender, numbers, numbers, path, file_format="parquet", k=1, chunk=1, types=types)
    assert [(row["user_id"], row["item_id"]) for row in rows(path)] == [(12, "NA"), (-9007199254740993, "true")]
    for other in ("x", "007"):
        with pytest.raises(DataError, match=f"user_id '{other}' is no BIGINT, which is what the data's own are"):
            write_recommendations(
                recommender, [Asked(other)], numbers, path, file_format="parquet", k=1, chunk=1, types=types
            )
    assert len(rows(path)) == 2  # as it was


def test_a_run_that_dies_leaves_what_was_there_and_the_next_removes_its_rest(known, recommender, tmp_path):
    path = tmp_path / "out.parquet"
    path.write_text("earlier")
    (tmp_path / ".out.parquet.abc.tmp").write_text("of a killed run")

    def die(users):
        assert len(list(tmp_path.glob(".out.parquet.*.tmp"))) == 1  # its own
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_recommendations(recommender, known, known, path, file_format="parquet", k=1, chunk=1, on_users=die)
    assert [file.name for file in tmp_path.iterdir()] == ["out.parquet"]
    assert path.read_text() == "earlier"


def test_nobody_is_an_error(known, recommender, tmp_path):
    with pytest.raises(DataError, match="nobody to recommend to"):
        write_recommendations(recommender, [], known, tmp_path / "o.csv", file_format="csv", k=1, chunk=1)
    assert not list(tmp_path.iterdir())


def test_files_of_users_keep_identifiers_and_order(tmp_path):
    csv, parquet = tmp_path / "users.csv", tmp_path / "users.parquet"
    csv.write_text('user_id,item_id,more\nNA,007,1\n01,,2\nNA,"1,5",3\nnan,true,4\n')
    expected = [Asked("NA", ["007", "1,5"]), Asked("01", []), Asked("nan", ["true"])]
    assert read_asked(csv) == expected
    pq.write_table(pa.table({"user_id": [7, 7, 3], "item_id": [1, 2, None]}), parquet)
    assert read_asked(parquet) == [Asked("7", ["1", "2"]), Asked("3", [])]
    csv.write_text("user_id\nb\na\nb\n")
    assert read_asked(csv) == [Asked("b"), Asked("a")]


def test_lists_of_items_and_titles(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("item_id,title\n007,Bond\nNA,Salt\n")
    assert read_items(path) == ["007", "NA"]
    assert read_titles(path) == {"007": "Bond", "NA": "Salt"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("u.csv", "user\na\n", "has no column user_id; it has user"),
        ("u.csv", "user_id,x\na,1\n,2\n", "user_id is empty in row 2"),
        ("u.txt", "user_id\n", "must end with .parquet or .csv"),
        ("u.parquet", "user_id\n", "cannot be read"),
        ("u.csv", "", "cannot be read"),
        ("u.csv", "user_id\na,b,c\n", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=f"{name}.*{message}"):
        read_asked(path)


def test_numbers_with_fractions_are_no_identifiers(tmp_path):
    pq.write_table(pa.table({"user_id": [1.5]}), tmp_path / "u.parquet")
    with pytest.raises(DataError, match="user_id is double; identifiers are texts or whole numbers"):
        read_asked(tmp_path / "u.parquet")
    with pytest.raises(DataError, match="there is no file"):
        read_asked(tmp_path / "absent.csv")
