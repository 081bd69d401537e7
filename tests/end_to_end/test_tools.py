"""Kedro's own tools on the project: they show everything and complain of nothing."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request

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


def test_viz_shows_all_stages_without_a_warning(project):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = project.command("viz", "run", "--no-browser", "--port", str(port))
    try:
        shown = json.loads(_get(f"http://127.0.0.1:{port}/api/main", server))
    finally:
        server.terminate()
        printed, _ = server.communicate()
    _assert_quiet(printed)
    names = {node["name"] for node in shown["nodes"]}
    assert {"fit_ranker", "collect_study", "report_study"} <= names
    boxes = {node["id"] for node in shown["nodes"] if node["type"] == "modularPipeline"}
    assert {
        "study",
        "significance",
        "groups",
        "inference",
        "sweep",
        "reporting",
        "diffurec",
        "diffurec.seed_0",
    } <= boxes
    layers = ["raw", "intermediate", "primary", "model_input", "models", "model_output", "reporting"]
    assert shown["layers"] == layers


def _get(address, server):
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert server.poll() is None, server.communicate()[0]
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                return answer.read()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError("kedro-viz did not answer within 300 s")


def test_a_study_of_counting_rankers_alone_runs_to_the_report(make_tiny):
    project = make_tiny()
    project.run(env="tiny", params={"study": {"rankers": ["popularity", "transitions"]}})
    page = max(project.root.glob("data/08_reporting/tiny/report.md/*/report.md")).read_text()
    assert "Best of 2 rankers" in page
    assert "No ranker of this study diffuses." in page
    assert "NaN" not in page
    assert not list(project.root.glob("data/08_reporting/tiny/figures/curves.png"))
