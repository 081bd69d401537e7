"""A whole study in a folder of an awkward name, under a locale that knows ASCII alone."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest

pytestmark = pytest.mark.slow

ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
PLACE = "100%20 #1 what? it's new"


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
