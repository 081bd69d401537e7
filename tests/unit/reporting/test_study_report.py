"""Tables of single sections, and the page over all experiments."""

from __future__ import annotations

import json

import pytest

from diffurecsys.reporting.paper import paper_results
from diffurecsys.reporting.report import write_report
from diffurecsys.reporting.sections import found_in
from diffurecsys.reporting.sections.beyond_accuracy import beyond_accuracy_table
from diffurecsys.reporting.sections.groups import group_table
from diffurecsys.reporting.sections.inference import inference_table
from diffurecsys.reporting.sections.sweeps import sweep_table
from diffurecsys.reporting.summary import make_record, render_summary

COUNTS = {name: {"users": 10, "items": 20, "interactions": 300} for name in ("raw", "core")}
RUN = {"command": "kedro run", "date": "today", "revision": "abc"}


def test_groups_have_a_column_a_ranker(study_tables):
    table = group_table(study_tables["group_scores_table"], ["diffurec", "popularity"], "NDCG@10")
    assert table.columns == ("group", "users", "n", "diffurec", "popularity")
    assert table.lines[0].cells == ("head", "history of head", "500", *["0.0400 [0.0300, 0.0500]"] * 2)


def test_measures_are_means_over_seeds(study_tables):
    table = beyond_accuracy_table(
        study_tables["beyond_accuracy_table"], study_tables["spread_table"], ["diffurec", "popularity"]
    )
    assert table.columns == ("measure", "what it is", "diffurec")  # popularity draws no samples
    cells = {line.cells[0]: line.cells[2] for line in table.lines}
    assert cells["coverage@20"] == "0.5500"
    assert cells["mean_popularity@20"] == "95.0"
    assert cells["rank_biased_overlap"] == "0.9000"


def test_probes_have_a_line_a_level(study_tables):
    table = inference_table(study_tables["inference_table"], ["diffurec"], "steps", "NDCG@10")
    assert [line.cells[:3] for line in table.lines] == [
        ("all", "200", "1"),
        ("all", "200", "32"),
        ("head", "200", "1"),
        ("head", "200", "32"),
    ]


def test_algorithm_3_and_reverse_processes_are_told_apart(study_tables):
    titles = [
        inference_table(study_tables["inference_table"], ["diffurec"], kind, "NDCG@10").title
        for kind in ("ensemble", "algorithm_3")
    ]
    assert "averaged reverse processes of one trained ranker" in titles[0]
    assert "Algorithm 3 (one call from the diffused last item each)" in titles[1]


def test_a_sweep_says_which_value_is_the_configured_one(study_tables):
    table = sweep_table(study_tables["sweeps_table"], "NDCG@10")
    assert table.columns[:2] == ("ranker", "network.delta")
    assert [line.cells[1] for line in table.lines] == ["0.001 (as configured)", "0", "1"]
    bare = sweep_table(study_tables["sweeps_table"].assign(overlap=None, gain_steps=None), "NDCG@10")
    assert not any("overlap" in column or "gain" in column for column in bare.columns)


def record_of(make_results, experiment, dataset, ranking="all"):
    results = make_results(5, paper_results(dataset), ranking=ranking)
    report = write_report(
        results,
        found=found_in(results.study, results.tables),
        experiment=experiment,
        dataset=dataset,
        counts=COUNTS,
        protocol="leave_one_out",
        run=RUN,
    )
    record = make_record(
        results.leaderboard, report, experiment=experiment, dataset=dataset, paper=paper_results(dataset)
    )
    return {**json.loads(json.dumps(record)), "link": f"{experiment}/report.html"}


def test_the_summary_holds_every_experiment(make_results):
    records = [record_of(make_results, "sample", "sample"), record_of(make_results, "beauty", "amazon_beauty")]
    page = render_summary(records, "summary.html.j2")
    assert page.startswith("<!DOCTYPE html>")
    assert 'href="beauty/report.html"' in page
    text = render_summary(records, "summary.md.j2")
    assert "| sample | sample | diffurec | 0.0430 ± 0.0015 | – |" in text
    assert "| beauty | amazon_beauty | diffurec | 0.0430 ± 0.0015 | 0.0790 |" in text
    assert "| beauty | amazon_beauty | popularity | 0.0110 | – | 0.0140 | – | – | – |" in text
    assert text.count("Best of 4 rankers") == 2
    alone = render_summary(records[:1], "summary.md.j2")
    assert "paper" not in alone.split("## ")[0]  # without a dataset of the paper it has no columns
    with pytest.raises(ValueError, match="no experiment"):
        render_summary([], "summary.md.j2")


def test_the_summary_sets_the_paper_beside_its_own_ranking_alone(make_results):
    record = record_of(make_results, "beauty", "amazon_beauty", "unseen")
    assert all(line["paper"] == {"HR@10": "–", "NDCG@10": "–"} for line in record["lines"])
