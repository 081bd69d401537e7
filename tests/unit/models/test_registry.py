"""Where families come from."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pytest
import torch

from diffurecsys.models import registry
from diffurecsys.models.base import Capabilities, CountRanker, Family, Ranker, RankerConfig, VectorRanker, scorer
from diffurecsys.models.registry import FamilyError, build_ranker, families, find_family


@pytest.fixture(autouse=True)
def _forgotten():
    """Look for families anew in every test and afterwards."""
    families.cache_clear()
    yield
    families.cache_clear()


def entry(monkeypatch, what: object, value: str = "theirs:FAMILY") -> None:
    class Entry(EntryPoint):
        def load(self):
            return what

    monkeypatch.setattr(registry, "entry_points", lambda group: [Entry("theirs", value, group)])


def test_every_family_has_the_name_of_its_file():
    files = {path.stem for path in registry.FOLDER.glob("*.py")} - {"__init__"}
    assert files <= set(families())
    assert all(family.name == name for name, family in families().items())


def test_installed_packages_add_theirs(monkeypatch):
    family = Family("theirs", RankerConfig, Ranker)
    entry(monkeypatch, family)
    assert find_family("theirs") is family
    assert isinstance(build_ranker("theirs", RankerConfig(), 3), Ranker)


def test_a_name_twice_names_both_places(monkeypatch):
    entry(monkeypatch, Family("diffurec", RankerConfig, Ranker))
    with pytest.raises(FamilyError, match=r"'diffurec' is defined twice: families/diffurec.py and entry point theirs"):
        families()


def test_what_is_no_family_is_named(monkeypatch):
    entry(monkeypatch, 3)
    with pytest.raises(FamilyError, match=r"entry point theirs \(theirs:FAMILY\) is int, not a"):
        families()


def test_a_file_of_another_name_is_refused(monkeypatch):
    monkeypatch.setattr(registry, "import_module", lambda _: type("Module", (), {"FAMILY": Family("x", None, None)}))
    with pytest.raises(FamilyError, match="defines the family 'x': file and family must have one name"):
        families()


def test_an_unknown_family_is_named_with_what_was_perhaps_meant():
    with pytest.raises(FamilyError, match=r"no family 'difurec'; did you mean diffurec\?"):
        find_family("difurec")
    with pytest.raises(FamilyError, match=r"no family 'xyz'; choose from .*diffurec"):
        find_family("xyz")


def test_building_leaves_the_global_stream_alone():
    state = torch.get_rng_state()
    build_ranker("diffurec", find_family("diffurec").config(), 5, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)


@dataclass(frozen=True)
class Walking(RankerConfig):
    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(steps=8)

    def steps_for(self, purpose):
        return {"validation": 1, "evaluation": None, "serving": 4}[purpose]


class Recording(Ranker):
    def score(self, batch, generator, steps=None):
        return steps


@pytest.mark.parametrize(("purpose", "steps"), [("validation", 1), ("evaluation", None), ("serving", 4)])
def test_the_purpose_decides_the_steps_unless_they_are_given(purpose, steps):
    ranker = Recording(Walking(), 3)
    assert scorer(ranker, purpose)(None, None) == steps
    assert scorer(ranker, purpose, 7)(None, None) == 7


class Vectors(VectorRanker):
    def users(self, batch, generator, steps=None):
        return torch.tensor([[1.0, 2.0]]).bfloat16()

    def items(self):
        return torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 1 / 3]])


def test_vectors_score_by_inner_product_in_float32():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = Vectors(RankerConfig(), 3).score(None, None)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, torch.tensor([[1.0, 2.0, 3 + 2 / 3]]))


class Counts(CountRanker):
    def __init__(self, config, n_items):
        super().__init__(config, n_items)
        self.inner = torch.nn.Linear(2, 2)

    def count(self, counts):
        self.register_buffer("counts", counts)
        return self


def test_counted_state_of_any_size_is_loaded():
    made = Counts(RankerConfig(), 3).count(torch.tensor([4, 5, 6]))
    loaded = Counts(RankerConfig(), 3)
    loaded.load_state_dict(made.state_dict())
    assert torch.equal(loaded.counts, made.counts)
    assert torch.equal(loaded.inner.weight, made.inner.weight)
    assert "_anchor" not in made.state_dict()


def test_what_does_not_train_says_so():
    with pytest.raises(NotImplementedError, match="Recording does not train"):
        Recording(Walking(), 3).loss(None, None)
