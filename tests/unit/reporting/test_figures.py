"""What the figures show, read back from them."""

from __future__ import annotations

import io
from itertools import pairwise

import matplotlib
import pytest

from diffurecsys.reporting.paper import paper_results
from diffurecsys.reporting.sections.leaderboard import draw_leaderboard, plotly_leaderboard
from diffurecsys.reporting.sections.training import draw_curves
from diffurecsys.reporting.style import GREY

TWELVE = tuple(f"model_{number}" for number in range(12))


def colour(text):
    return pytest.approx(matplotlib.colors.to_rgb(text))


def test_bars_are_means_the_highest_first(make_leaderboard):
    leaderboard = make_leaderboard()
    ndcg, hit_rate = draw_leaderboard(leaderboard).axes
    names = ["cross_attention", "transitions", "diffurec", "popularity"]
    assert [text.get_text() for text in ndcg.get_yticklabels()] == names
    assert [bar.get_width() for bar in hit_rate.patches] == pytest.approx([0.052, 0.046, 0.042, 0.011])
    assert (ndcg.get_xlabel(), hit_rate.get_xlabel()) == ("test NDCG@10", "test HR@10")
    assert ndcg.get_xlim()[0] == 0
    assert ndcg.yaxis_inverted()
    colours = [bar.get_facecolor()[:3] for bar in ndcg.patches]
    assert colours[1::2] == [colour(GREY)] * 2
    assert len({*colours[:3]}) == 3


def test_every_seed_is_a_point_and_baselines_have_none(make_leaderboard):
    panel = draw_leaderboard(make_leaderboard(n_seeds=4)).axes[1]
    points = [x for dots in panel.collections if hasattr(dots, "get_sizes") for x in dots.get_offsets()[:, 0]]
    assert points == pytest.approx([0.051, 0.052, 0.053, 0.054, 0.041, 0.042, 0.043, 0.044])


@pytest.mark.parametrize(("n_seeds", "bars"), [(3, 2), (1, 0)])
def test_error_bars_need_two_seeds(make_leaderboard, n_seeds, bars):
    panel = draw_leaderboard(make_leaderboard(n_seeds)).axes[0]
    assert len([c for c in panel.containers if c.__class__.__name__ == "ErrorbarContainer"]) == bars


def test_the_paper_is_marked_only_where_known(make_leaderboard):
    def diamonds(paper):
        panel = draw_leaderboard(make_leaderboard(), paper).axes[1]
        return [line.get_xdata()[0] for line in panel.lines if line.get_marker() == "D"]

    assert diamonds(paper_results("amazon_beauty")) == [0.0790, 0.0974]
    assert diamonds(None) == []
    other = draw_leaderboard(make_leaderboard(ranking="unseen"), paper_results("amazon_beauty")).axes[1]
    assert not [line for line in other.lines if line.get_marker() == "D"]  # the paper ranks all items


def test_the_caption_says_how_many_seeds(make_leaderboard):
    caption = " ".join(draw_leaderboard(make_leaderboard()).get_supxlabel().split())
    assert "(n = 3)" in caption
    assert "All items ranked" in caption


def test_other_cut_offs_fall_back_to_what_was_computed(make_leaderboard):
    (panel,) = draw_leaderboard(make_leaderboard(), metrics=["NDCG@7"]).axes
    assert panel.get_xlabel() == "test HR@5"


def test_twelve_models_do_not_overlap(make_leaderboard):
    figure = draw_leaderboard(make_leaderboard(models=TWELVE))
    figure.savefig(io.BytesIO())
    labels = [text.get_window_extent() for text in figure.axes[0].get_yticklabels()]
    assert len(labels) == 14
    assert not any(one.overlaps(other) for one, other in pairwise(labels))


def test_curves_show_every_seed_and_skip_unvalidated_epochs(histories):
    loss, validation = draw_curves(histories).axes
    assert len(loss.lines) == len(validation.lines) == 4
    assert list(loss.lines[0].get_xdata()) == [1, 2, 3, 4, 5]
    assert list(validation.lines[1].get_xdata()) == [2, 4]
    assert list(validation.lines[1].get_ydata()) == pytest.approx([0.01, 0.021])
    assert validation.get_ylabel() == "validation NDCG@10"
    styles = [(line.get_color(), str(line._dash_pattern)) for line in loss.lines]
    assert styles[0] == styles[1] != styles[2] == styles[3]
    assert styles[0][1] != styles[2][1]  # told apart without colour


def test_twelve_models_have_twelve_styles(histories):
    history = next(iter(histories.values()))
    panel = draw_curves({(model, 0): history for model in TWELVE}).axes[0]
    assert len({(line.get_color(), str(line._dash_pattern)) for line in panel.lines}) == 12


def test_curves_of_a_run_without_validation(histories):
    bare = {cell: history[["epoch", "loss"]] for cell, history in histories.items()}
    loss, validation = draw_curves(bare).axes
    assert len(loss.lines[0].get_xdata()) == 5
    assert all(len(line.get_xdata()) == 0 for line in validation.lines)


@pytest.mark.parametrize("length", [4, 25, 60])
def test_a_legend_stands_within_its_figure(histories, length):
    (history, *_) = histories.values()
    figure = draw_curves({(f"{name:_<{length}}", 0): history for name in TWELVE})
    (legend,) = figure.legends
    assert legend.get_window_extent().width <= figure.bbox.width
    assert [text.get_text()[:8] for text in legend.get_texts()] == [f"{name:_<{length}}"[:8] for name in TWELVE]


def test_no_history_is_an_error():
    with pytest.raises(ValueError, match="no training history"):
        draw_curves({})


def test_plotly_shows_the_same(make_leaderboard):
    figure = plotly_leaderboard(make_leaderboard(), paper_results("amazon_beauty"))
    bars = {}
    for trace in figure.select_traces({"type": "bar"}, col=2):
        bars |= dict(zip(trace.y, trace.x, strict=True))
    assert bars == pytest.approx(
        {"diffurec": 0.042, "cross_attention": 0.052, "popularity": 0.011, "transitions": 0.046}
    )
    assert len(next(figure.select_traces({"name": "one seed"}, col=2)).x) == 2 * 3
    assert tuple(next(figure.select_traces({"name": "paper"}, col=2)).x) == (0.0790, 0.0974)
    shown = [trace.name for trace in figure.data if trace.showlegend]
    assert shown == ["baseline", "one seed", "paper"]
    assert figure.to_json()
