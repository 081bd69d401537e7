"""How often the tests reject what is true, and how often their intervals hold it, on simulated studies.

python benchmarks/significance_simulation.py --out docs/results/significance_simulation.json

Two kinds of studies, all without any difference. *Normal*: mean squares are drawn from their exact distributions, so
that hundreds of thousands of studies take seconds; users make a variance of 1 of the mean difference (a share of it by
their interaction with seeds), seeds make `seeds_over_users`. *Hits*: every user of two equal models hits or misses,
with a taste, a seed's effect and a coin of its own; they go through `compare_models`, bootstrap included.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special, stats

from common import write_json
from diffurecsys.evaluation.significance.comparison import compare_models
from diffurecsys.evaluation.significance.scores import ModelScores
from diffurecsys.evaluation.significance.two_variances import Parts, two_sided_p

LEVEL, FAMILIES = 0.05, (63, 210)  # tests that Holm corrects together: all pairs of 12 or of 21 rankers, about
CHUNK = 20_000


def draw_studies(
    n: int, rng: np.random.Generator, *, n_users: int, n_seeds: int, seeds_over_users: float, interaction: float
) -> tuple[np.ndarray, Parts]:
    """Draw differences of means without a true one, and what is estimated of their variance."""
    users_df, seeds_df = n_users - 1, n_seeds - 1
    seeds = (seeds_over_users + interaction) * rng.chisquare(seeds_df, n) / seeds_df
    crossed = interaction * rng.chisquare(users_df * seeds_df, n) / (users_df * seeds_df)
    users = rng.chisquare(users_df, n) / users_df
    return rng.normal(size=n) * np.sqrt(1 + seeds_over_users), Parts(users, seeds, crossed, users_df, seeds_df)


def p_values(distance: np.ndarray, parts: Parts, *, below: float = 1.0) -> np.ndarray:
    """Return p, exact where it is less than `below`: users alone give a lower bound of it, which is cheap."""
    p = 2 * special.stdtr(parts.users_df, -np.abs(distance) / np.sqrt(parts.users))
    asked = np.flatnonzero(p < below)
    for first in range(0, len(asked), CHUNK):
        few = asked[first : first + CHUNK]
        some = Parts(parts.users[few], parts.seeds[few], parts.interaction[few], parts.users_df, parts.seeds_df)
        p[few] = two_sided_p(distance[few], some)
    return p


def normal_studies(n: int, rng: np.random.Generator, **setting: Any) -> dict[str, Any]:
    """Rates at 5 % and at Holm's first step, of families, and of claims of equivalence at the margin's very edge."""
    distance, parts = draw_studies(n, rng, **setting)
    p = p_values(distance, parts, below=LEVEL)
    smallest = {size: p[: n // size * size].reshape(-1, size).min(axis=1) for size in FAMILIES}
    margin, few = 4 * np.sqrt(1 + setting["seeds_over_users"]), slice(0, n // 10)
    part = Parts(parts.users[few], parts.seeds[few], parts.interaction[few], parts.users_df, parts.seeds_df)
    shifted = distance[few] + margin  # the true difference is the margin
    alike = (np.abs(shifted) < margin) & (p_values(shifted - margin, part, below=2 * LEVEL) < 2 * LEVEL)
    return {
        **setting,
        "studies": n,
        "rejected_at_5_percent": float((p < LEVEL).mean()),
        **{f"rejected_at_holm_level_of_{n}_over_nominal": float((p < LEVEL / n).mean() * n / LEVEL) for n in FAMILIES},
        **{f"families_of_{n}_with_an_error": float((smallest[n] < LEVEL / n).mean()) for n in FAMILIES},
        "called_equivalent_at_the_margin": float(alike.mean()),
    }


def hit_studies(n: int, rng: np.random.Generator, *, n_users: int, n_seeds: int, seed_effect: float) -> dict[str, Any]:
    """Rates of `compare_models` on hits; every study is one metric of one table."""
    tastes = [rng.normal(-1.5, 1, n_users) for _ in range(n)]

    def model(name: str) -> ModelScores:
        values = {
            f"study {number}": (
                rng.random((n_seeds, n_users)) < stats.norm.cdf(taste + rng.normal(0, seed_effect, (n_seeds, 1)))
            ).astype(float)
            for number, taste in enumerate(tastes)
        }
        return ModelScores(name, tuple(range(n_seeds)), values)

    table = compare_models([model("a"), model("b")], n_resamples=2000)
    return {
        "n_users": n_users,
        "n_seeds": n_seeds,
        "seed_effect": seed_effect,
        "studies": n,
        "rejected_at_5_percent": float((table["p_t"] < LEVEL).mean()),
        "rejected_by_users_alone": float((table["p_users"] < LEVEL).mean()),
        "covered_by_the_interval": float(((table["low"] <= 0) & (table["high"] >= 0)).mean()),
        "covered_by_the_bootstrap": float(((table["boot_low"] <= 0) & (table["boot_high"] >= 0)).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200_000, help="normal ones of each setting")
    parser.add_argument("--tables", type=int, default=1000, help="studies of hits of each setting")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    normal = [
        normal_studies(
            arguments.studies, rng, n_users=arguments.users, n_seeds=n_seeds, seeds_over_users=ratio, interaction=share
        )
        for n_seeds in (3, 5)
        for share in (0.0, 0.3, 0.9)
        for ratio in (0.0, 0.25, 1.0, 4.0, 16.0)
    ]
    hits = [
        hit_studies(arguments.tables, rng, n_users=arguments.users, n_seeds=n_seeds, seed_effect=effect)
        for n_seeds in (3, 5)
        for effect in (0.0, 0.1, 0.4)
    ]
    every = {name: [row[name] for row in normal] for name in normal[0] if name not in ("n_users", "studies")}
    summary = {
        **{f"highest_{name}": max(values) for name, values in list(every.items())[3:]},
        "lowest_coverage_of_the_bootstrap": min(row["covered_by_the_bootstrap"] for row in hits),
        "highest_coverage_of_the_bootstrap": max(row["covered_by_the_bootstrap"] for row in hits),
    }
    write_json(arguments.out, {"summary": summary, "normal": normal, "hits": hits})


if __name__ == "__main__":
    main()
