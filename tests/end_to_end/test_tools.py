"""Kedro's own tools on the project: they show everything and complain of nothing."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

COMPLAINTS = ("WARN", "Warning", "Traceback", "deprecated")


def _assert_quiet(printed):
    assert not [line for line in printed.splitlines() if any(word in line for word in COMPLAINTS)]


@pytest.mark.parametrize("command", ["list-patterns", "describe-datasets", "resolve-patterns"])
def test_the_catalog_is_described_without_a_warning(command, project):
    printed = project.output("catalog", command)
    _assert_quiet(printed)
    assert "diffurec" in printed or "{ranker}" in printed


def test_a_study_of_counting_rankers_alone_runs_to_the_report(make_tiny):
    project = make_tiny()
    project.run(env="tiny", params={"study": {"rankers": ["popularity", "transitions"]}})
    page = max(project.root.glob("data/08_reporting/tiny/report.md/*/report.md")).read_text()
    assert "Best of 2 rankers" in page
    assert "No ranker of this study diffuses." in page
    assert "NaN" not in page
    assert not list(project.root.glob("data/08_reporting/tiny/figures/curves.png"))
