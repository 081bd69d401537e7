"""How much of the target diffusion shows the network, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from diffurecsys.diffusion import GaussianDiffusion, signal_to_noise, told_apart
from diffurecsys.models.reverse import ReverseConfig
from diffurecsys.reporting.sections.base import DIFFUSES, Part, Results, Text
from diffurecsys.reporting.text_table import Columns, Table, count, make_table
from diffurecsys.study import Study

SHOWN_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # as many as there are, and the last


def seeing_noised_targets(study: Study) -> dict[str, ReverseConfig]:
    """Settings of all rankers whose network is shown a noised target, those that sweeps add among them."""
    specs = {cell.spec.name: cell.spec.network for cell in study.cells}
    return {name: config for name, config in specs.items() if isinstance(config, ReverseConfig) and config.delta > 0}


def write(results: Results) -> Text:
    """Write what is seen at which step, a table for each number of steps."""
    by_steps: dict[int, dict[str, ReverseConfig]] = {}
    for name, network in seeing_noised_targets(results.study).items():
        by_steps.setdefault(network.diffusion_steps, {})[name] = network
    return Text(tables=tuple(signal_table(networks, results.n_items) for networks in by_steps.values()))


def signal_table(networks: Mapping[str, ReverseConfig], n_items: int | None) -> Table:
    """Write signal to noise in x_s by step, a row for all rankers of which it is the same.

    Args:
        networks: by ranker, of as many steps.
        n_items: of the catalogue; None: where targets can be told apart is not told.
    """
    steps = next(iter(networks.values())).diffusion_steps
    shown = [*(step for step in SHOWN_STEPS if step < steps), steps]
    rows: dict[tuple[Any, ...], list[str]] = {}
    for name, network in networks.items():
        rms = 1.0 if network.target_scale == "unit" else getattr(network, "embedding_std", None)
        width = getattr(network, "width", None)
        apart, ratios = None, [float("nan")] * len(shown)
        if rms is not None:
            ratio = signal_to_noise(GaussianDiffusion(network.betas).alpha_bar, rms)
            ratios = [float(ratio[step - 1]) for step in shown]
            apart = int((ratio >= told_apart(width, n_items)).sum()) if width and n_items else None
        rows.setdefault((network.target_scale, network.delta, rms, *ratios, apart), []).append(name)
    columns: Columns = {
        "rankers": ("rankers", str),
        "scale": ("targets", str),
        "delta": ("δ", lambda value: f"{value:g}"),
        "rms": ("their rms", lambda value: f"{value:g}"),
        **{f"step_{step}": (f"step {step}", _two_digits) for step in shown},
        "apart": ("told apart up to step", count),
    }
    frame = pd.DataFrame([(", ".join(names), *row) for row, names in rows.items()], columns=list(columns))
    return make_table(
        f"signal_to_noise_{steps}",
        f"Signal to noise by step, of {steps}",
        frame,
        columns,
        scope="Settings alone; no split is ranked; all seeds of each ranker.",
        caption="Power of the target in x_s over that of the noise; step 1 has the least noise. Raw targets are given "
        "the rms that item embeddings begin with; at ten times that, to which training may bring them, ratios are a "
        "hundred times these. What the network is shown is multiplied by δ. Up to the step in the last column the "
        "target can be told from all other items by what is seen of it alone (the capacity of a Gaussian channel); "
        "later the history has to help.",
    )


def _two_digits(value: float) -> str:
    digits, _, exponent = f"{value:.9e}".partition("e")
    return f"{float(f'{digits[:3]}e{exponent}'):g}"  # cut off, as all numbers here


PART = Part("What diffusion shows", write, needs=(DIFFUSES,))
