import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import ibis
import numpy as np
import pytest

from diffurecsys.data.kcore import filter_k_core
from diffurecsys.data.recbole_files import read_interactions
from diffurecsys.data.sequences import build_sequences, count_interactions
from diffurecsys.data.synthetic import write_sample

CUTOFF = 10
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module", params=SEEDS)
def interactions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ibis.Table:
    path = tmp_path_factory.mktemp("sample") / "sample.zip"
    write_sample(path, seed=request.param)
    return ibis.memtable(read_interactions(path))


@pytest.fixture(scope="module")
def core(interactions: ibis.Table) -> ibis.Table:
    return filter_k_core(interactions, user_k=5, item_k=5)


@pytest.fixture(scope="module")
def sequences(core: ibis.Table) -> list[list[int]]:
    return build_sequences(core).table.to_pyarrow()["items"].to_pylist()


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_sample(tmp_path / name, seed=seed)
    first, again, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == again
    assert first != other
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_is_an_archive_with_one_atomic_file(tmp_path: Path):
    write_sample(tmp_path / "sample.zip")
    with zipfile.ZipFile(tmp_path / "sample.zip") as archive:
        assert archive.namelist() == ["sample.inter"]
        assert archive.testzip() is None
        assert archive.read("sample.inter").startswith(b"user_id:token\titem_id:token\ttimestamp:float\n")


def test_size_and_what_the_core_leaves_out(interactions, core):
    before, after = count_interactions(interactions), count_interactions(core)
    assert before.users == 1000
    assert 300 <= before.items <= 400
    assert 11_000 <= before.interactions <= 15_000
    assert 600 <= after.users < before.users
    assert 250 <= after.items < before.items


def test_long_tail(interactions):
    counts = interactions.group_by("item_id").agg(n=interactions.count()).to_pyarrow()["n"].to_numpy()
    counts = np.sort(counts)[::-1]
    assert counts[: len(counts) // 5].sum() > 0.5 * counts.sum()


def test_times_are_seconds_with_ties_in_file_order(interactions):
    table = interactions.to_pandas()
    assert table.timestamp.between(1_400_000_000, 1_700_000_000).all()
    per_user = table.groupby("user_id").timestamp
    assert per_user.apply(lambda times: times.is_monotonic_increasing).all()
    assert (per_user.diff() == 0).mean() > 0.1
    assert (table.timestamp % 86_400 == 0).mean() < 0.5


def hit_rate(sequences: list[list[int]], recommend) -> float:
    """Share of users whose last item is among the recommendations from all items before it."""
    return sum(history[-1] in recommend(history[:-1]) for history in sequences) / len(sequences)


def top(scores: Counter, popular: list[int]) -> list[int]:
    best = [item for item, _ in scores.most_common(CUTOFF)]
    return (best + [item for item in popular if item not in best])[:CUTOFF]


def test_order_tells_much_and_the_last_item_not_all(sequences):
    """First-order counts beat popularity by far; adding what followed the item before the last beats those."""
    training = [sequence[:-2] for sequence in sequences]
    popular = [item for item, _ in Counter(item for sequence in training for item in sequence).most_common()]
    followers = {lag: defaultdict(Counter) for lag in (1, 2, 3)}
    for lag, after in followers.items():
        for sequence in training:
            for item, later in zip(sequence, sequence[lag:], strict=False):
                after[item][later] += 1

    def longer_memory(history: list[int]) -> list[int]:
        scores = sum((followers[lag][history[-lag]] for lag in followers if lag <= len(history)), Counter())
        return top(Counter({item: n for item, n in scores.items() if item not in history}), popular)

    by_popularity = hit_rate(sequences, lambda history: popular[:CUTOFF])
    by_last_item = hit_rate(sequences, lambda history: top(followers[1][history[-1]], popular))
    assert by_last_item > 1.8 * by_popularity
    assert hit_rate(sequences, longer_memory) > 1.2 * by_last_item
