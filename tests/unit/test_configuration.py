"""Files of conf/ that cannot be read: what is said of them."""

from __future__ import annotations

import re

import pytest

from diffurecsys.configuration import StudyConfigLoader
from diffurecsys.parameters import ParameterError
from diffurecsys.settings import CONFIG_LOADER_ARGS


@pytest.fixture
def load(tmp_path):
    """Reads parameters of an experiment `mine` from bytes."""

    def read(content: bytes, base: bytes = b"threads: 1\n"):
        for folder, text in (("base", base), ("mine", content)):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / "parameters.yml").write_bytes(text)
        (tmp_path / "base" / "globals.yml").write_text("experiment: mine\n")
        return StudyConfigLoader(str(tmp_path), env="mine", **CONFIG_LOADER_ARGS)["parameters"]

    return read


def test_an_experiment_says_what_differs_from_base(load):
    assert load(b"a: {b: 2}\n", b"a: {b: 1, c: 3}\n") == {"a": {"b": 2, "c": 3}}
    assert load(b"", b"name: ${globals:experiment}\n") == {"name": "mine"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: 1\nb: [1,\n", ", line 2: 'b: [1,'"),
        (b"a: 1\n\tb: 2\n", ", line 2: 'b: 2': found a tab character"),
        (b"a: b: c\n", ", line 1: 'a: b: c': mapping values are not allowed"),
        (b"a: 1\na: 2\n", ", line 2: 'a: 2': found duplicate key a"),
        (b"? [a]\n: 1\n", ", line 1: '? [a]': found unhashable key"),
        (b"a: !!python/object:os.system x\n", ", line 1: 'a: !!python/object:os.system x': could not determine"),
        (b"a: 1\nb: \xff\n", r", line 2: 'b: \\xff' is not UTF-8"),
        (b"a: 1\nb: \0\n", ", line 2: 'b: \\x00': control characters are not allowed"),
        (b"- a\n", ": it must map names to values, as in `threads: 1`, but holds a list"),
        (b"12\n", ": it must map names to values, as in `threads: 1`, but holds one value"),
    ],
)
def test_a_file_that_is_no_configuration_is_named_with_the_line(load, content, said):
    with pytest.raises(ParameterError) as caught:
        load(content)
    assert str(caught.value).startswith("conf cannot be read (parameters): ")
    assert f"mine/parameters.yml{said}" in str(caught.value)


@pytest.mark.parametrize("content", [b"threads: ${nope:1}\n", b"threads: ${nothing}\n", b"threads: ${threads}\n"])
def test_a_reference_to_nothing_is_said_with_its_parameter(load, content):
    with pytest.raises(ParameterError, match=r"conf cannot be read \(parameters\): threads: "):
        load(content)


def test_two_files_with_one_name_are_refused_by_name(load, tmp_path):
    load(b"a: 1\n")
    (tmp_path / "mine" / "parameters_more.yml").write_text("a: 2\n")
    with pytest.raises(ParameterError) as caught:
        load(b"a: 1\n")
    assert all(f"mine/{name}" in str(caught.value) for name in ("parameters.yml", "parameters_more.yml"))


@pytest.mark.parametrize(("name", "said"), [("mime", "did you mean mine?"), ("beauty", "choose from mine")])
def test_an_experiment_without_a_folder_is_said_with_those_that_have_one(load, tmp_path, name, said):
    load(b"")
    with pytest.raises(ParameterError, match=rf"--env={name}: .* has no folder of that name; {re.escape(said)}"):
        StudyConfigLoader(str(tmp_path), env=name, **CONFIG_LOADER_ARGS)
