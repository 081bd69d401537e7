"""The report of a whole study: sections, escapes, LaTeX, and the page over all experiments."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from diffurecsys.reporting.paper import paper_results
from diffurecsys.reporting.report import escape_latex, render_html, render_latex, render_markdown, write_report
from diffurecsys.reporting.sections import FOREST
from diffurecsys.reporting.study_tables import beyond_accuracy_table, group_table, inference_table
from diffurecsys.reporting.summary import make_record, render_summary

COUNTS = {name: {"users": 10, "items": 20, "interactions": 300} for name in ("raw", "core")}
TITLES = ["Training", "Significance", "Groups of users", "Inference", "Beyond accuracy", "Representations"]
SWEEP = "What the diffusion contributes"


@pytest.fixture
def make(make_leaderboard, study_tables):
    def make(dataset="sample", experiment="sample", study=study_tables, **other):
        paper = paper_results(dataset)
        board = make_leaderboard(5)
        return write_report(
            board, experiment=experiment, dataset=dataset, counts=COUNTS, paper=paper, study=study, **other
        )

    return make


def test_every_part_with_numbers_has_a_section(make):
    assert [section.title for section in make().sections] == [*TITLES[:4], SWEEP, *TITLES[4:]]
    assert make("amazon_beauty").sections[0].title == "Against the paper"


def test_without_a_sweep_its_section_is_left_out(make, study_tables):
    report = make(study=replace(study_tables, delta_sweep=study_tables.delta_sweep.iloc[:0]))
    assert [section.title for section in report.sections] == TITLES
    assert not any("noised target" in sentence for sentence in report.verdicts)


def test_without_a_study_there_are_the_leaderboard_and_training_alone(make):
    report = make(study=None)
    assert [section.title for section in report.sections] == ["Training"]
    assert report.verdicts == ()
    assert "## Verdicts" not in render_markdown(report)


def test_verdicts_come_first(make):
    report = make(warnings=["Look out."])
    assert report.verdicts[0].startswith("cross_attention vs diffurec on NDCG@10: +4.1 % [2.0, 6.3], Holm p = 0.002")
    page = render_html(report)
    assert page.index("Verdicts") < page.index("Look out.") < page.index('id="leaderboard"')


def test_the_contents_lead_to_every_section(make):
    page = render_html(make())
    links = re.findall(r'<a href="#([^"]+)"', page)
    assert links == [
        *(f"{name}" for name in ["leaderboard"]),
        *(section.anchor for section in make().sections),
        "reading",
    ]
    assert all(page.count(f'id="{link}"') == 1 for link in links)


def test_a_section_shows_the_figures_it_asks_for(make):
    figure = Figure()
    figure.subplots().plot([1, 2])
    page = render_html(make(), {FOREST: figure, "Other": figure})
    significance = page[page.index('id="significance"') :]
    assert f'aria-label="{FOREST}"' in significance[: significance.index("</section>")]
    assert page.index('aria-label="Other"') < page.index('id="training"')


def test_markdown_tables_are_whole(make):
    text = render_markdown(make("amazon_beauty"))
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1
    assert "\n\n\n" not in text


def test_hostile_names_stay_text(make):
    report = make(experiment="<script>alert(1)</script> & co")
    assert "<script>" not in render_html(report)
    assert "&lt;script&gt;" in render_html(report)
    assert escape_latex(r"a_b 5 % {x} \y & #1 $ ^ ~") == (
        r"a\_b 5 \% \{x\} \textbackslash{}y \& \#1 \$ \textasciicircum{} \textasciitilde{}"
    )


def test_latex_tables_are_whole(make):
    text = render_latex(make("amazon_beauty"))
    report = make("amazon_beauty")
    tables = re.findall(r"\\begin\{tabular\}\{(l r*|lr*)\}(.*?)\\end\{tabular\}", text, flags=re.DOTALL)
    assert len(tables) == len(report.tables)
    for (columns, body), table in zip(tables, report.tables, strict=True):
        assert len(columns) == len(table.columns)
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) == 1 + len(table.lines)
        assert all(len(re.findall(r"(?<!\\)&", row)) == len(table.columns) - 1 for row in rows)
    unescaped = re.sub(r"\\[{}]", "", text)
    assert unescaped.count("{") == unescaped.count("}")
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(set(labels)) == len(labels)


def test_groups_have_a_column_a_model(study_tables):
    table = group_table(study_tables.group_scores, ["diffurec", "popularity"], "NDCG@10")
    assert table.columns == ("group", "users", "n", "diffurec", "popularity")
    assert table.lines[0].cells == ("head", "history of head", "500", *["0.0400 [0.0300, 0.0500]"] * 2)


def test_measures_are_means_over_seeds(study_tables):
    table = beyond_accuracy_table(study_tables.beyond_accuracy, study_tables.spread, ["diffurec"])
    cells = {line.cells[0]: line.cells[2] for line in table.lines}
    assert cells["coverage@20"] == "0.5500"
    assert cells["mean_popularity@20"] == "95.0"
    assert cells["rank_biased_overlap"] == "0.9000"


def test_probes_have_a_line_a_level(study_tables):
    table = inference_table(study_tables.inference, ["diffurec"], "steps", "NDCG@10")
    assert [line.cells[:3] for line in table.lines] == [
        ("all", "200", "1"),
        ("all", "200", "32"),
        ("head", "200", "1"),
        ("head", "200", "32"),
    ]


def record_of(make, make_leaderboard, experiment, dataset):
    report = make(dataset, experiment)
    record = make_record(
        make_leaderboard(5), report, experiment=experiment, dataset=dataset, paper=paper_results(dataset)
    )
    return {**json.loads(json.dumps(record)), "link": f"{experiment}/report.html"}


def test_the_summary_holds_every_experiment(make, make_leaderboard):
    records = [
        record_of(make, make_leaderboard, "sample", "sample"),
        record_of(make, make_leaderboard, "beauty", "amazon_beauty"),
    ]
    page = render_summary(records, "summary.html.j2")
    assert page.startswith("<!DOCTYPE html>")
    assert 'href="beauty/report.html"' in page
    text = render_summary(records, "summary.md.j2")
    assert "| sample | sample | diffurec | 0.0430 ± 0.0015 | – |" in text
    assert "| beauty | amazon_beauty | diffurec | 0.0430 ± 0.0015 | 0.0790 |" in text
    assert text.count("cross_attention vs diffurec") == 2
    with pytest.raises(ValueError, match="no experiment"):
        render_summary([], "summary.md.j2")
