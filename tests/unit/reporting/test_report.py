"""The report as a page and as Markdown."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from diffurecsys.reporting.figures import draw_curves, draw_leaderboard
from diffurecsys.reporting.paper import paper_results
from diffurecsys.reporting.report import embed_svg, render_html, render_markdown, write_report

COUNTS = {
    "raw": {"users": 1210271, "items": 249274, "interactions": 2023070},
    "core": {"users": 22363, "items": 12101, "interactions": 198502},
}


class Page(HTMLParser):
    """Collects start tags and checks that elements close in order."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, html):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def values(self, attribute):
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]


@pytest.fixture
def make_report(make_leaderboard):
    def make(dataset="amazon_beauty", experiment="beauty", n_seeds=3, **other):
        paper = paper_results(dataset)
        return write_report(
            make_leaderboard(n_seeds), experiment=experiment, dataset=dataset, counts=COUNTS, paper=paper, **other
        )

    return make


def test_markdown_begins_with_one_table_a_split(make_report):
    text = render_markdown(make_report())
    assert text.startswith("# beauty: diffusion recommenders on amazon_beauty\n")
    assert text.endswith("\n")
    rows = [line for line in text.splitlines() if line.startswith("|")][: 2 * (2 + 6)]
    assert {row.count("|") for row in rows} == {11}  # model, seven metrics, seconds, seeds
    assert rows[2].startswith("| diffurec | 0.0410 ± 0.0010 | 0.0420 ± 0.0010 |")
    assert rows[3].startswith("| paper's diffurec | 0.0557 | 0.0790 |")
    assert "\n\n\n" not in text
    assert "- After filtering: 22,363 users, 12,101 items, 198,502 interactions" in text
    assert "suspicion" in text


def test_both_forms_hold_every_fact(make_report):
    report = make_report(revision="abc1234")
    page, text = render_html(report), render_markdown(report)
    for fact in (
        "last_item_transition on test NDCG@10: 0.0450 (mean of 3 seeds) against 0.0490",
        "22,363 users",
        "abc1234",
        "the whole catalogue of 12,101 items; seen items kept in the ranking",
        "0.0974 ± 0.0021",
        "CC BY 4.0",
    ):
        assert fact in page, fact
        assert fact in text, fact


def test_elsewhere_the_paper_is_not_mentioned(make_report):
    report = make_report(dataset="ml-100k")
    for text in (re.sub(r"<style>.*?</style>", "", render_html(report), flags=re.DOTALL), render_markdown(report)):
        assert "Against the paper" not in text
        assert "Paper:" not in text
        assert "0.0790" not in text
        assert "diffurec" in text


def test_the_revision_is_optional(make_report):
    assert "Code" not in dict(make_report().setup)


def test_the_page_is_well_formed_and_requests_nothing(make_report, make_leaderboard, histories):
    figures = {"Scores": draw_leaderboard(make_leaderboard()), "Curves": draw_curves(histories)}
    html = render_html(make_report(), figures)
    page = Page(html)
    assert page.open == []
    assert page.values("src") == []
    references = page.values("href") + page.values("xlink:href") + re.findall(r"url\(([^)]*)\)", html)
    assert references
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {reference.removeprefix("#") for reference in references} <= set(ids)
    assert not {"script", "link", "iframe", "img"} & {tag for tag, _ in page.tags}
    assert "@import" not in html
    assert "prefers-color-scheme: dark" in html


def test_names_are_escaped(make_report):
    html = render_html(make_report(experiment="<script>alert(1)</script>"))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_a_figure_is_embedded_as_svg_that_follows_the_page(make_leaderboard):
    svg = embed_svg(draw_leaderboard(make_leaderboard()), 'Scores & "seeds"', prefix="one")
    root = ET.fromstring(svg.replace("xlink:href", "href"))
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == 'Scores & "seeds"'
    assert "width" not in root.attrib
    assert "viewBox" in root.attrib
    assert "var(--ink)" in svg
    assert "last_item_transition" in svg  # text stays text


def test_the_same_results_give_the_same_bytes(make_report, make_leaderboard):
    def render():
        return render_html(make_report(), {"Scores": draw_leaderboard(make_leaderboard())})

    assert render() == render()


def test_a_study_of_one_seed_is_reported_without_deviations(make_report):
    text = render_markdown(make_report(dataset="ml-100k", n_seeds=1))
    assert "There is no standard deviation for diffurec and cross_attention: fewer than 2 seeds." in text
    assert not re.search(r"\d ± \d", text)
    assert "nan" not in text.lower()
