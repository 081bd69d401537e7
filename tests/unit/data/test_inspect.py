"""What a first look at a file proposes."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffurecsys.data.sources.files import SourceError
from diffurecsys.data.sources.inspect import find_facts, propose_columns, propose_item_table, propose_time_format
from diffurecsys.data.sources.spec import ColumnNames, Rule
from diffurecsys.new_experiment import ExperimentError, check_name, describe_look, look_at, parse_rule, write_experiment


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("visitorid,itemid,timestamp,event", ("visitorid", "itemid", "timestamp")),
        ("rating;movieId;userId;timestamp", ("userId", "movieId", "timestamp")),
        ("reviewerID,asin,overall,unixReviewTime", ("reviewerID", "asin", "unixReviewTime")),
        ("event_time\tevent_type\tproduct_id\tcategory_id\tuser_id", ("user_id", "product_id", "event_time")),
        ("customer,sku", ("customer", "sku", None)),
    ],
)
def test_columns_are_known_by_their_names(header, expected, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\n1,2,3\n")
    found = propose_columns(path, None)
    assert (found.user, found.item, found.time) == expected


def test_columns_that_are_not_known_are_asked_for(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b,c\n1,2,3\n")
    with pytest.raises(
        SourceError, match="none of the columns 'a', 'b', 'c' looks like the user; say which with --user"
    ):
        propose_columns(path, None)
    assert propose_columns(path, None, given=ColumnNames("c", "a")) == ColumnNames("c", "a", None)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1709632800", "1709632801.5"], "s"),
        (["1709632800000"], "ms"),
        (["1709632800000000"], "us"),
        (["2024-03-05T10:00:00Z", "2024-03-05 11:00:00+01:00"], "iso"),
        (["2024-03-05", "nonsense", "2024-03-06"], "iso"),
        (["20240305", "20240306"], "%Y%m%d"),
        (["05.03.2024 10:00"], "%d.%m.%Y %H:%M"),
        (["13/03/2024", "03/04/2024"], "%d/%m/%Y"),
        (["03/13/2024", "03/04/2024"], "%m/%d/%Y"),
        (["1", "2", "3"], "s"),  # positions
    ],
)
def test_how_times_are_written_is_seen(values, expected, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["u,i,t", *(f"x,y,{value}" for value in values), ""]))
    assert propose_time_format(path, None, "t") == expected


def test_times_that_are_none_are_shown(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("u,i,t\nx,y,yesterday\n")
    with pytest.raises(SourceError, match=r"'t' holds 'yesterday', which is no time that is known; .* --time-format"):
        propose_time_format(path, None, "t")
    pq.write_table(pa.table({"t": pa.array([1], pa.timestamp("us"))}), tmp_path / "a.parquet")
    assert propose_time_format(tmp_path / "a.parquet", None, "t") == "s"  # its type says it: nothing to write down


def test_facts_of_a_small_table():
    events = [("u", "a", 1), ("u", "a", 1), ("u", "b", 2), ("u", "a", 3), ("v", "a", 1), ("v", "b", 4), ("v", "c", 4)]
    users, items, times = zip(*events, strict=True)
    table = pa.table({"user_id": users, "item_id": items, "timestamp": times, "row": range(7)})
    facts = find_facts(table)
    assert (facts.rows, facts.users, facts.items, facts.first, facts.last) == (7, 2, 3, 1, 4)
    assert (facts.copies, facts.repeats, facts.ties, facts.tied_users) == (1, 2, 4, 1)


def test_rules_are_read_as_they_are_written():
    assert parse_rule("event=view, buy") == Rule("event", ("view", "buy"))
    assert parse_rule("rating >= 4") == Rule("rating", at_least=4.0)
    for text in ("event", "rating>=many", "=x"):
        with pytest.raises(ExperimentError, match="write a rule like"):
            parse_rule(text)


@pytest.mark.parametrize("name", ["base", "on", "../x", "A", "1", "a b", "", "a.b"])
def test_names_that_cannot_be_folders_and_yaml_keys_are_refused(name, tmp_path):
    with pytest.raises(ExperimentError, match="cannot name an experiment"):
        check_name(name, tmp_path)


def test_a_look_is_written_as_it_was_understood(tmp_path):
    raw, conf = tmp_path / "raw", tmp_path / "conf"
    raw.mkdir()
    lines = [f"u{user},i{step},{100 * user + step},{step % 6}" for user in range(4) for step in range(4)]
    (raw / "$ {odd}.csv").write_text("\n".join(["user,item,time,stars", *lines, "u9,,7,1", ""]))
    (raw / "items.csv").write_text("item,name\ni1,One\n")
    look = look_at(raw / "$ {odd}.csv", raw, drop_bad_rows=True, items=raw / "items.csv")
    said = "\n".join(describe_look(look))
    assert "Dropped     $ {odd}.csv, line 18, column item: the value is empty (1 row like it)" in said
    assert "no dates: positions rather than times" in said
    assert "Filtered    4 users, 4 items, 16 interactions have at least 3 interactions each" in said
    written = {path.name: path.read_text() for path in write_experiment("mine", look, conf)}
    assert set(written) == {"globals.yml", "datasets.yml", "parameters.yml"}
    assert "path: $ {odd}.csv" in written["datasets.yml"]
    assert "item_k: 3" in written["parameters.yml"]
    with pytest.raises(ExperimentError, match="is there already"):
        write_experiment("mine", look, conf)


def test_a_table_of_items_is_known_by_its_names(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("movieId,title,genres\n1,x,y\n")
    found = propose_item_table(path, "movie")
    assert (found.item, found.title, found.category) == ("movieId", "title", "genres")
