"""A whole study in a folder of an awkward name, under locales that know few characters."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing

import pytest

pytestmark = pytest.mark.slow

ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
WINDOWS = {**ASCII, "LC_ALL": "en_US.CP1252", "LANG": "en_US.CP1252"}  # western Windows' own
PLACE = "100%20 #1 what? it's new"


@pytest.fixture
def windows(tmp_path_factory):
    """The environment of a process whose files are CP1252 unless it says otherwise."""
    folder = tmp_path_factory.mktemp("locales")
    command = ["localedef", "-i", "en_US", "-f", "CP1252", str(folder / "en_US.CP1252")]
    if not shutil.which("localedef") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no locale of CP1252 can be made here")
    return {**WINDOWS, "LOCPATH": str(folder)}


def test_a_study_ends_under_the_locale_of_western_windows(make_tiny, windows):
    project = make_tiny()
    encodings = "import locale, sys; sys.stdout.write(f'{locale.getencoding()} {sys.getfilesystemencoding()}')"
    assert project.finish(project.python("-c", encodings, environment=windows)) == "CP1252 cp1252"

    printed = project.output("run", "--env=tiny", "--pipeline=train_eval", environment=windows)

    assert "goes on untracked" not in printed
    assert "EncodeError" not in printed
    for name in ("report.html", "report.md", "report.tex"):
        (report,) = project.root.glob(f"data/08_reporting/tiny/{name}/*/{name}")
        text = report.read_text(encoding="utf-8")
        assert ("–" in text) == (name != "report.tex")
    for table in project.root.rglob("data/08_reporting/tiny/tables/*/*/*.csv"):
        table.read_text(encoding="utf-8")


def test_a_study_runs_to_its_report_wherever_it_lies_and_whatever_the_locale(make_tiny, tmp_path):
    made = make_tiny()
    root = tmp_path / PLACE
    shutil.copytree(made.root, root)
    project = type(made)(root)

    printed = project.output("run", "--env=tiny", "--pipeline=train_eval", environment=ASCII)

    assert "goes on untracked" not in printed
    assert "UnicodeEncodeError" not in printed
    (report,) = root.glob("data/08_reporting/tiny/report.html/*/report.html")
    assert "–" in report.read_text(encoding="utf-8")  # not ASCII
    assert {path.name for path in tmp_path.iterdir()} == {PLACE}
    with closing(sqlite3.connect(root / "mlflow.db")) as store:
        status = store.execute("SELECT status, COUNT(*) FROM runs GROUP BY status").fetchall()
        (place,) = store.execute("SELECT artifact_location FROM experiments WHERE name = 'tiny'").fetchone()
    assert status == [("FINISHED", 5)]
    assert place == (root / "mlartifacts/tiny").as_uri()
    assert list((root / "mlartifacts").rglob("weights.safetensors"))
