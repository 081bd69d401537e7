"""What the figures of a study show, read back from them."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from diffurecsys.reporting.sections.groups import draw_groups
from diffurecsys.reporting.sections.inference import draw_ensembles, draw_steps
from diffurecsys.reporting.sections.maps import draw_item_maps, draw_sample_maps, draw_target_maps, plotly_target_map
from diffurecsys.reporting.sections.significance import draw_forest, plotly_forest
from diffurecsys.reporting.sections.sweeps import draw_sweeps
from diffurecsys.reporting.style import COLOURS, HATCHES, INK, MARKERS, RULE, colour, marker
from diffurecsys.reporting.svg import embed_svg

MODELS = ("diffurec", "cross_attention")


def caption(figure: Figure) -> str:
    return " ".join(figure.get_supxlabel().split())


def svg_size(figure: Figure) -> int:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return buffer.tell()


def test_the_forest_has_a_point_a_pair_filled_where_significant(comparison):
    table = pd.DataFrame(
        [
            comparison("b", "a", "NDCG@10", 0.04, 0.02, 0.06, 0.01),
            comparison("c", "a", "NDCG@10", 0.04, -0.02, 0.06, 0.2),
            comparison("b", "a", "HR@10", 0.5, 0.4, 0.6, 0.2),
        ]
    )
    (panel,) = draw_forest(table).axes
    assert [text.get_text() for text in panel.get_yticklabels()] == ["b vs a", "c vs a"]
    points = [line for line in panel.lines if line.get_marker() == "o"]
    assert [point.get_xdata()[0] for point in points] == pytest.approx([4, 4])
    assert [point.get_markerfacecolor() for point in points] == [COLOURS[0], "white"]
    assert "n = 1,000 users, 5 seeds" in caption(draw_forest(table))
    assert "over 21 tests" in caption(draw_forest(table))
    assert "% of the reference" in panel.get_xlabel()


def test_baselines_get_a_scale_of_their_own(study_tables):
    assert len(draw_forest(study_tables["comparisons_table"], models=MODELS).axes) == 2
    assert len(draw_forest(study_tables["comparisons_table"]).axes) == 1


def test_a_weak_reference_does_not_set_the_scale(comparison):
    rows = [
        comparison("b", "a", "NDCG@10", 0.04, 0.02, 0.06, 0.01),
        comparison("b", "popularity", "NDCG@10", 6.0, 5.5, 6.5, 1e-9),
    ]
    (panel,) = draw_forest(pd.DataFrame(rows)).axes
    assert panel.get_xlim() == pytest.approx((-6.6, 6.6))
    (arrow,) = [line for line in panel.lines if line.get_marker() == ">"]
    assert arrow.get_xdata()[0] == pytest.approx(6.6)
    assert "+600.0 % [550.0, 650.0]" in [text.get_text() for text in panel.texts]


def test_of_very_many_pairs_the_best_ranker_s_are_drawn(comparison):
    names = [f"ranker_{number}" for number in range(8)]
    rows = [
        comparison(one, other, "NDCG@10", 0.04, 0.02, 0.06, 0.01, mean_model=0.1 + i, mean_reference=0.1 + j)
        for i, one in enumerate(names)
        for j, other in enumerate(names[:i])
    ]
    figure = draw_forest(pd.DataFrame(rows))
    assert sum(len(panel.get_yticklabels()) for panel in figure.axes) == 7
    assert "Pairs of ranker_7, the best" in caption(figure)


def test_the_interactive_forest_shows_the_same(study_tables):
    figure = plotly_forest(study_tables["comparisons_table"])
    assert figure.data[0].y[0] == "cross_attention vs diffurec"
    assert figure.data[0].x[0] == pytest.approx(4.15)


def test_groups_have_a_bar_a_model_with_its_users(study_tables):
    figure = draw_groups(study_tables["group_scores_table"], models=MODELS)
    assert [panel.get_xlabel() for panel in figure.axes] == ["popularity", "history length"]
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == pytest.approx([0.04] * 4)
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["head\nn = 500", "long tail\nn = 500"]
    hatches = {bar.get_hatch() for bar in figure.axes[0].patches}
    assert len(hatches) == 2
    assert figure.axes[0].get_ylim()[0] == 0


def test_more_models_than_fit_are_named(study_tables):
    models = [f"model_{number}" for number in range(12)]
    table = pd.concat([study_tables["group_scores_table"].assign(model=name) for name in models]).drop_duplicates()
    figure = draw_groups(table, models=models)
    assert "Not drawn: model_6, model_7" in caption(figure)


def test_steps_are_drawn_against_quality_and_time(study_tables):
    quality, speed = draw_steps(
        study_tables["probe_comparisons_table"], study_tables["step_times_table"], models=MODELS
    ).axes
    labels = (quality.get_ylabel(), speed.get_ylabel())
    assert labels == ("test NDCG@10: gain over 1 step, %", "seconds for 1,000 users")
    assert [text.get_text() for text in quality.get_xticklabels()] == ["1", "8", "32"]
    gains = quality.containers[0].lines[0].get_ydata()
    assert list(gains) == pytest.approx([0, 0.1, 0.1])  # the paired differences, in percent
    assert list(speed.lines[0].get_ydata()) == pytest.approx([0.5, 16])  # 0.1 s a step for 200 users
    styles = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in speed.lines}
    assert len(styles) == 2


def test_all_kinds_of_ensembles_share_a_scale(study_tables):
    figure = draw_ensembles(study_tables["probe_comparisons_table"], models=MODELS)
    assert [panel.get_xlabel() for panel in figure.axes] == [
        "averaged reverse processes",
        "averaged calls (Algorithm 3)",
        "averaged training seeds",
    ]
    assert len({panel.get_ylim() for panel in figure.axes}) == 1
    assert "n = 1,000 test users" in caption(figure)
    assert figure.axes[0].get_ylabel() == "test NDCG@10: gain, %"


def test_the_sweep_has_a_place_for_zero(study_tables):
    accuracy, overlap = draw_sweeps(study_tables["sweeps_table"]).axes
    assert [text.get_text() for text in accuracy.get_xticklabels()] == ["0", "0.001", "1"]
    assert accuracy.get_xlabel() == "network.delta"
    assert accuracy.get_ylabel() == "test NDCG@10: to the configured, %"
    assert list(accuracy.containers[0].lines[0].get_ydata()) == pytest.approx([-1, 0, -25])
    assert list(overlap.lines[0].get_ydata()) == [0.99] * 3


def test_every_sweep_has_a_row_and_values_need_not_be_numbers(study_tables):
    other = study_tables["sweeps_table"].assign(sweep="noise", parameter="network.schedule", overlap=None)
    other["value"] = ["linear", "cosine", "sqrt"]
    figure = draw_sweeps(pd.concat([study_tables["sweeps_table"], other]))
    assert [panel.get_xlabel() for panel in figure.axes[::2]] == ["network.delta", "network.schedule"]
    assert [text.get_text() for text in figure.axes[2].get_xticklabels()] == ["linear", "cosine", "sqrt"]
    alone = draw_sweeps(other)
    assert len(alone.axes) == 1  # samples do not overlap where none are drawn


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    n = 3000
    return pd.DataFrame(
        {
            "user": np.arange(n) // 20,
            "item": np.arange(n),
            "sample": np.arange(n) % 20,
            "x": rng.normal(size=n),
            "y": rng.normal(size=n),
            "cluster": rng.integers(0, 9, n),
            "popularity": rng.integers(0, 500, n),
        }
    )


def test_targets_are_coloured_and_marked_by_cluster(points):
    figure = draw_target_maps({"a": points, "b": points})
    panel = figure.axes[0]
    assert len(panel.collections) == 9
    assert sum(len(dots.get_offsets()) for dots in panel.collections) == 3000
    assert [panel.get_title() for panel in figure.axes] == ["a", "b"]
    assert "n = 3,000 test users" in caption(figure)
    assert svg_size(figure) < 1_000_000  # points are pixels: a page with all maps stays light


def test_samples_are_told_apart_by_user(points):
    few = points[points["user"] < 5]
    figure = draw_sample_maps({"a": few})
    assert len(figure.axes[0].collections) == 5
    assert "20 samples" in caption(figure)
    assert "5 users" in caption(figure)


def test_items_are_coloured_by_popularity_with_a_unit(points):
    figure = draw_item_maps({"a": points})
    panel, bar = figure.axes
    assert len(panel.collections[0].get_offsets()) == 3000
    assert bar.get_ylabel() == "interactions in the training part"


def test_the_interactive_map_has_a_trace_a_cluster(points):
    figure = plotly_target_map(points)
    assert len(figure.data) == 9
    assert sum(len(trace.x) for trace in figure.data) == 3000


def test_many_models_fill_rows_of_three(points):
    figure = draw_target_maps({f"model_{number}": points[:200] for number in range(5)})
    assert sum(panel.get_visible() for panel in figure.axes) == 5


@pytest.mark.parametrize(
    "draw",
    [
        lambda: draw_forest(pd.DataFrame()),
        lambda: draw_groups(pd.DataFrame(), models=["a"]),
        lambda: draw_steps(
            pd.DataFrame(columns=["kind", "reference_kind", "relative_difference"]), pd.DataFrame(), models=["a"]
        ),
        lambda: draw_ensembles(pd.DataFrame(columns=["kind", "reference_kind"]), models=["a"]),
        lambda: draw_sweeps(pd.DataFrame()),
        lambda: draw_target_maps({}),
    ],
)
def test_without_numbers_the_error_says_what_to_run(draw):
    with pytest.raises(ValueError, match=r"there (is|are) no .* to draw"):
        draw()


def test_colour_and_marker_together_tell_56_apart():
    assert len({(colour(index), marker(index)) for index in range(56)}) == 56
    assert len(set(HATCHES)) == len(HATCHES)
    assert len(set(MARKERS)) == len(MARKERS)


def test_ink_follows_the_page(study_tables):
    markup = embed_svg(draw_sweeps(study_tables["sweeps_table"]), "Sweep", prefix="f")
    assert "var(--ink)" in markup
    assert INK not in markup
    assert RULE not in markup
    assert matplotlib.rcParams["svg.fonttype"] != "none"  # set for the page alone
