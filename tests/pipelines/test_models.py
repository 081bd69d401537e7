"""The ready-made rankers: one valid file each, and at least one of every family."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from diffurecsys.models.registry import families
from diffurecsys.parameters import validate_parameters

CONF = Path(__file__).resolve().parents[2] / "conf"
FILES = sorted((CONF / "base/parameters/models").glob("*"))


@pytest.fixture(scope="module")
def parameters(make_project):
    """Raw parameters of the base configuration."""
    project = make_project()
    project.add_experiment("bare", globals="experiment: bare\ndataset: sample\n")
    with project.session("bare") as session:
        return session.load_context().config_loader["parameters"]


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_a_file_holds_the_ranker_of_its_name_which_a_study_can_name(file, parameters):
    assert file.suffix == ".yml"
    content = yaml.safe_load(file.read_text())
    assert list(content) == ["models"]
    assert list(content["models"]) == [file.stem]
    assert file.read_text().startswith("# "), "it must say what the ranker is"
    other = "popularity" if file.stem != "popularity" else "transitions"
    study = validate_parameters({**parameters, "study": {"rankers": [other, file.stem], "n_seeds": 1}}).study
    spec = study.spec(file.stem)
    assert spec.family == content["models"][file.stem]["family"]
    assert spec.trains == ("training" in content["models"][file.stem])


def test_every_family_has_a_ranker(parameters):
    named = {entry["family"] for entry in parameters["models"].values()}
    assert named == {
        family for family in families() if (CONF.parent / f"src/diffurecsys/models/families/{family}.py").exists()
    }


def test_every_ranker_has_a_file(parameters):
    assert parameters["models"].keys() == {file.stem for file in FILES}
