"""The report as a page, as Markdown and as LaTeX."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from diffurecsys.reporting.narrow import WIDTH, narrowed
from diffurecsys.reporting.paper import paper_results
from diffurecsys.reporting.report import (
    escape_latex,
    render_html,
    render_latex,
    render_markdown,
    write_report,
)
from diffurecsys.reporting.sections import PARTS, found_in, made_of
from diffurecsys.reporting.sections.leaderboard import draw_leaderboard
from diffurecsys.reporting.sections.training import draw_curves
from diffurecsys.reporting.svg import embed_figure, embed_svg

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


RUN = {"command": "kedro run --env beauty", "date": "2030-01-02 03:04", "revision": "abc1234"}
INFERENCE = ("inference", "probe_comparisons", "spread", "step_times", "beyond_accuracy")
WITHOUT_SAMPLES = tuple(f"{name}_table" for name in INFERENCE)


@pytest.fixture
def make_report(make_results):
    def make(dataset="amazon_beauty", experiment="beauty", n_seeds=3, without=(), ranking="all", **other):
        results = make_results(n_seeds, paper_results(dataset), without, ranking)
        return write_report(
            results,
            found=found_in(results.study, results.tables),
            experiment=experiment,
            dataset=dataset,
            counts=COUNTS,
            protocol="leave_one_out",
            run=RUN,
            **other,
        )

    return make


def titles(report):
    return [section.title for section in report.sections]


def test_the_answer_comes_first(make_report):
    report = make_report(warnings=["Look out."])
    assert len(report.answer) == 3
    page = render_html(report)
    places = [page.index(text) for text in (report.answer[0][:40], "Look out.", "Set-up</h2>", 'id="leaderboard"')]
    assert places == sorted(places)
    assert render_markdown(report).splitlines()[2] == report.answer[0]


def test_markdown_begins_with_a_table_a_split_and_ranking(make_report):
    text = render_markdown(make_report())
    assert text.startswith("# beauty: sequential recommenders on amazon_beauty\n")
    assert text.endswith("\n")
    rows = [line for line in text.splitlines() if line.startswith("|")][: 2 + 6 + 2 + 4]
    assert {row.count("|") for row in rows} == {11}  # ranker, seven metrics, seconds, seeds
    assert rows[5].startswith("| diffurec | 0.0410 ± 0.0010 | 0.0420 ± 0.0010 |")  # third, behind the paper's row
    assert rows[6].startswith("| paper's diffurec | 0.0557 | 0.0790 |")
    assert rows[12].startswith("| diffurec | 0.0615 ± 0.0015 | 0.0630 ± 0.0015 |")  # unseen items, no paper
    headings = re.findall("^### (.*)", text, flags=re.MULTILINE)
    assert headings[:4] == [
        "Test, all items ranked",
        "Test, items that the user had before left out of the ranking",
        "Validation, all items ranked",
        "Validation, items that the user had before left out of the ranking",
    ]
    assert "\n\n\n" not in text
    assert "- After filtering: 22,363 users, 12,101 items, 198,502 interactions" in text
    assert "suspicion" in text


def test_the_first_figure_stands_beside_the_answer_and_nowhere_else(make_report, make_leaderboard):
    page = render_html(make_report(), {"leaderboard_figure": draw_leaderboard(make_leaderboard())})
    assert page.count("<figure>") == 1
    assert page.index('id="answer"') < page.index("<figure>") < page.index("<nav")


def test_every_table_says_split_ranking_and_seeds(make_report):
    for table in make_report().tables:
        assert re.search("seeds? ", table.scope), table.name
        assert re.search("[Tt]est targets|[Vv]alidation|[Ss]plit", table.scope), table.name
    for text in (render_html(make_report()), render_markdown(make_report())):
        assert text.count("Test targets; all items ranked; 3 training seeds a ranker that trains.") > 5


def test_pairs_are_shown_at_a_glance_and_their_table_on_request(make_report):
    (glance,) = (table for table in make_report().tables if table.name == "verdicts")
    lines = {line.cells[0]: line.cells[2:] for line in glance.lines}
    assert lines == {
        "1. cross_attention": ("", "▲", "▲", "▲"),
        "2. transitions": ("▼", "", "▼", " "),
        "3. diffurec": ("▼", "▲", "", "▲"),
        "4. popularity": ("▼", " ", "▼", ""),
    }
    page = render_html(make_report())
    assert page.index("<details>") < page.index("<summary>All tests that pair users (6 lines)")


def test_the_primary_ranking_comes_first(make_report):
    table = make_report(ranking="unseen").tables[0]
    assert table.title == "Test, items that the user had before left out of the ranking"


def test_both_forms_hold_every_fact(make_report):
    report = make_report()
    page, text = render_html(report), render_markdown(report)
    for fact in (
        "strongest baseline, transitions, reaches test NDCG@10 0.0490; not ahead of it: diffurec 0.0450 (mean of 3",
        "22,363 users",
        "kedro run --env beauty",
        "2030-01-02 03:04",
        "abc1234",
        "the whole catalogue of 12,101 items: all items ranked (tests, groups and figures)",
        "0.0974 ± 0.0021",
        "CC BY 4.0",
        "6 to 8 of 8",  # epochs
        "Cpu 9000",
        "12,345",
    ):
        assert fact in page, fact
        assert fact in text, fact


def test_configurations_are_of_every_ranker_but_the_sweeps(make_report):
    (table,) = (table for table in make_report().tables if table.name == "configurations")
    lines = {line.cells[0]: dict(zip(table.columns, line.cells, strict=True)) for line in table.lines}
    assert list(lines) == ["diffurec", "cross_attention", "popularity", "transitions"]
    known = {"family": "diffurec", "scheme": "prefix", "width": "32", "blocks": "2", "epochs": "6 to 8 of 8"}
    assert lines["diffurec"].items() >= {**known, "loss": "–", "seeds": "3", "seconds": "110.0"}.items()
    assert lines["diffurec"]["products in"] == "float32"
    assert lines["popularity"].items() >= {"role": "baseline", "epochs": "–", "seeds": "–", "scheme": "–"}.items()


def test_elsewhere_the_paper_is_not_mentioned(make_report):
    report = make_report(dataset="ml-100k")
    for text in (re.sub(r"<style>.*?</style>", "", render_html(report), flags=re.DOTALL), render_markdown(report)):
        assert "Against the paper" not in text
        assert "paper" not in re.sub("--paper", "", text).lower()
        assert "0.0790" not in text
        assert "diffurec" in text


def test_every_part_with_numbers_has_a_section(make_report):
    everything = titles(make_report())
    assert everything == [
        *("Leaderboard", "Training", "Accuracy against cost", "Against the paper", "Significance"),
        *("Groups of users", "What diffusion shows", "Inference", "Sweeps"),
        "Beyond accuracy",
    ]


def test_parts_without_numbers_are_left_out_and_named(make_report):
    report = make_report("sample", without=(*WITHOUT_SAMPLES, "sweeps_table"))
    assert titles(report) == [
        *("Leaderboard", "Training", "Accuracy against cost", "Significance", "Groups of users", "What diffusion shows")
    ]
    assert report.left_out == (
        "Inference: no ranker that was to be probed draws samples or walks reverse steps.",
        "Sweeps: no parameter was varied (`study.sweeps`).",
        "Beyond accuracy: no ranker that was to be probed draws samples, whose lists are measured.",
        "Representations: no ranker that was to be mapped has vectors.",
    )
    for text in (render_html(report), render_markdown(report)):
        assert "no ranker that was to be probed draws samples or walks reverse steps" in text


def test_what_is_made_can_be_told_before_there_are_numbers(make_results):
    results = make_results()
    found = found_in(results.study, results.tables)
    made = [one for part in PARTS for one in part.made(found)]
    assert tuple(one.name for one in made) == made_of(found)
    assert "target_maps_figure" not in made_of(found)
    assert "target_maps_figure" in made_of(found_in(results.study, ["diffurec.target_map", "diffurec.item_map"]))
    for one in made:
        assert one.name.endswith(("_figure", "_plot", "_table"))
        assert one.make(results) is not None


def test_the_contents_lead_to_every_section(make_report):
    report = make_report()
    page = render_html(report)
    links = re.findall(r'<a href="#([^"]+)"', page)
    assert links == ["set-up", *(section.anchor for section in report.sections), "reading"]
    assert all(page.count(f'id="{link}"') == 1 for link in links)


def test_a_section_shows_its_figures(make_report):
    figure = Figure()
    figure.subplots().plot([1, 2])
    page = render_html(make_report(), {"forest_figure": figure})
    significance = page[page.index('id="significance"') :]
    assert 'aria-label="forest"' in significance[: significance.index("</section>")]


def test_the_page_is_well_formed_and_requests_nothing(make_report, make_leaderboard, histories):
    figures = {"leaderboard_figure": draw_leaderboard(make_leaderboard()), "curves_figure": draw_curves(histories)}
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


def test_hostile_names_stay_text(make_report):
    html = render_html(make_report(experiment="<script>alert(1)</script>"))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert escape_latex(r"a_b 5 % {x} \y & #1 $ ^ ~") == (
        r"a\_b 5 \% \{x\} \textbackslash{}y \& \#1 \$ \textasciicircum{} \textasciitilde{}"
    )


def test_a_figure_is_embedded_as_svg_that_follows_the_page(make_leaderboard):
    svg = embed_svg(draw_leaderboard(make_leaderboard()), 'Scores & "seeds"', prefix="one")
    root = ET.fromstring(svg.replace("xlink:href", "href"))
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == 'Scores & "seeds"'
    assert "width" not in root.attrib
    assert "viewBox" in root.attrib
    assert "var(--ink)" in svg
    assert "transitions" in svg  # text stays text


def test_on_a_phone_a_figure_stands_in_one_column_and_is_afterwards_what_it_was(make_leaderboard):
    figure = draw_leaderboard(make_leaderboard())
    before = embed_svg(figure, "", prefix="one")
    _, slim_text, _ = str(embed_figure(figure, "", prefix="two")).split("</svg>")
    slim = ET.fromstring(f"{slim_text.replace('xlink:href', 'href')}</svg>")
    _, _, width, height = (float(part) for part in slim.attrib["viewBox"].split())
    assert width == pytest.approx(72 * WIDTH)
    assert height > width  # two panels, the one below the other
    text = [element.text for element in slim.iter("{http://www.w3.org/2000/svg}text")]
    assert text.count("transitions") == 2  # either panel names its bars
    assert embed_svg(figure, "", prefix="one") == before


def test_on_a_phone_every_panel_keeps_its_own_names(histories):
    figure = draw_curves(histories)
    names = [(panel.get_xlabel(), panel.get_ylabel()) for panel in figure.axes]
    with narrowed(figure):
        assert [(panel.get_xlabel(), panel.get_ylabel()) for panel in figure.axes] == names
    assert len(set(names)) == 2


def test_the_same_results_give_the_same_bytes(make_report, make_leaderboard):
    def render():
        return render_html(make_report(), {"leaderboard_figure": draw_leaderboard(make_leaderboard())})

    assert render() == render()


def test_a_study_of_one_seed_is_reported_without_deviations(make_report):
    text = render_markdown(make_report(dataset="ml-100k", n_seeds=1))
    assert "There is no standard deviation for diffurec and cross_attention: fewer than 2 seeds." in text
    assert not re.search(r"\d ± \d", text)
    assert not re.search(r"\bnan\b", text.lower())


def test_markdown_tables_are_whole(make_report):
    text = render_markdown(make_report())
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1
    assert "\n\n\n" not in text


def test_latex_tables_are_whole(make_report):
    text = render_latex(make_report())
    report = make_report()
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
