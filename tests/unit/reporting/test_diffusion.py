"""What diffusion shows the network, step by step."""

from __future__ import annotations

from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.models.families.position_diffusion import PositionDiffusionConfig
from diffurecsys.reporting.sections.diffusion import PART, seeing_noised_targets, signal_table


def test_rankers_that_see_alike_share_a_row():
    unit = {"target_scale": "unit", "delta": 0.1, "width": 64}
    networks = {
        "diffurec": DiffuRecConfig(),
        "cross_attention": DiffuRecConfig(conditioning="cross"),
        "unit": DiffuRecConfig(**unit),
        "faint": PositionDiffusionConfig(least_noise=0.8),
    }
    raw, scaled, faint = (
        dict(zip(table.columns, line.cells, strict=True))
        for table in [signal_table(networks, 12_101)]
        for line in table.lines
    )
    assert (raw["rankers"], raw["targets"], raw["their rms"]) == ("diffurec, cross_attention", "raw", "0.02")
    assert float(raw["step 1"]) == 0.03  # 0.02² of what unit targets have
    assert (float(scaled["step 1"]), float(scaled["step 5"])) == (75, 3.1)
    assert (raw["told apart up to step"], scaled["told apart up to step"]) == ("0", "11")
    assert float(faint["step 1"]) < 0.25  # noise of more than .8
    assert "step 32" in faint
    assert "step 50" not in faint


def test_where_targets_are_told_apart_needs_the_catalogue():
    (line,) = signal_table({"diffurec": DiffuRecConfig()}, None).lines
    assert line.cells[-1] == "–"


def test_controls_without_a_noised_target_have_no_row(make_results):
    results = make_results()
    assert "diffurec_delta_0" not in seeing_noised_targets(results.study)
    (table,) = PART.write(results).tables
    names = [name for line in table.lines for name in line.cells[0].split(", ")]
    assert names == ["diffurec", "cross_attention", "diffurec_delta_1"]
