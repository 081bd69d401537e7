"""The numbers of the paper that a study's own stand beside.

Source: Zolghadr, Winther, Jeha, "Generative Diffusion Models for Sequential Recommendations", 2024 (CC BY 4.0), Tables
2 to 5, kept in `paper_tables.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from diffurecsys.columns import TEST, VALIDATION
from diffurecsys.evaluation.leaderboard import Leaderboard, Score, cut
from diffurecsys.evaluation.ranks import ALL
from diffurecsys.evaluation.significance.paper_test import PaperTest

PAPER_MODELS = ("diffurec", "cross_attention", "diffurecsys")  # of Table 3
TABLE_5 = {  # rankers in the form that Table 5 has, and what it calls them
    "gru4rec": "GRU4Rec",
    "sasrec_bce": "SASRec",
    "bert4rec": "BERT4Rec",
    "stosa": "STOSA",
    "acvae": "ACVAE",
    "vsan": "VSAN",
    "mfgan": "MFGAN",
    "cl4srec": "CL4SRec",
    "duorec": "DuoRec",
    "diffurecsys": "DiffuRecSys",
}
PAPER_NAMES = {"ml-1m": "ml_1m", "amazon_beauty": "amazon_beauty", "amazon_toys": "amazon_toys"}

CAVEAT = (
    "Read the paper's numbers with care. Its diffurec scores have no standard deviation and equal those printed in the "
    "DiffuRec paper, obtained with other hyper-parameters than the variants'. Its published training script prints "
    "test metrics and the best validation metrics, and the variants' Beauty scores look like the latter: a suspicion, "
    "not a fact. Training seconds are from other hardware."
)
ML_1M_CAVEAT = (
    "The published ML-1M file holds all 3,706 items and 1,000,209 interactions, not the 5-core that the text describes."
)

SWAPPED = {"cross_attention": "diffurecsys", "diffurecsys": "cross_attention"}  # labels of Table 4

_UNKNOWN = float("nan")
_N_SEEDS = 5


@dataclass(frozen=True)
class PaperResults:
    """What the paper prints for one dataset.

    Attributes:
        dataset: its name in this project.
        scores: by model and metric (Table 3); where no standard deviation is printed it is
            NaN and the number of seeds 0.
        overall: by ranker of `TABLE_5` and metric (Table 5).
        training_seconds: by model, on the authors' hardware (Table 2).
        tests: t-tests against `diffurec` by the model they were computed from (Table 4, whose two rows a dataset carry
            each other's labels).
        source: citation.
        caveat: what to know before comparing, one line.
    """

    dataset: str
    scores: dict[str, dict[str, Score]]
    overall: dict[str, dict[str, float]]
    training_seconds: dict[str, float]
    tests: dict[str, PaperTest]
    source: str
    caveat: str

    def score(self, model: str, metric: str) -> Score | None:
        """Return a metric as printed; None where the paper has none."""
        return self.scores.get(model, {}).get(metric)


def paper_results(dataset: str) -> PaperResults | None:
    """Return the paper's results on a dataset of the registry; None if it is not one of the paper's."""
    if dataset not in PAPER_NAMES:
        return None
    tables, name = _tables(), PAPER_NAMES[dataset]
    return PaperResults(
        dataset=dataset,
        scores={model: _scores(**printed) for model, printed in tables["table3_mean_std"][name].items()},
        overall={ranker: dict(tables["table5_overall"][name][printed]) for ranker, printed in TABLE_5.items()},
        training_seconds=dict(tables["table2_training_seconds"][name]),
        tests={
            SWAPPED[label]: PaperTest(test["t"], test["p"], 5, test["avg_diff_percent"])
            for label, test in tables["table4_paired_t_test"][name].items()
        },
        source=tables["source"],
        caveat=f"{CAVEAT} {ML_1M_CAVEAT}" if dataset == "ml-1m" else CAVEAT,
    )


def compare_with_paper(leaderboard: Leaderboard, paper: PaperResults) -> list[str]:
    """Say for each model to which of our splits the paper's scores lie closer, as mean absolute difference."""
    sentences = []
    for model in printed_models(leaderboard):
        printed = {name: paper.score(model, name) for name in leaderboard.metrics}
        known = {name: score.mean for name, score in printed.items() if score is not None}
        if not known:
            continue
        distance = {
            split: sum(abs(leaderboard.score(model, split, name, ALL).mean - mean) for name, mean in known.items())
            / len(known)
            for split in (TEST, VALIDATION)
        }
        closer, other = sorted(distance, key=lambda split: distance[split])
        sentences.append(
            f"{model}: the paper's scores lie closer to our {closer} scores (mean absolute difference over "
            f"{len(known)} metrics {cut(distance[closer])}) than to our {other} scores ({cut(distance[other])})."
        )
    return sentences


def printed_models(leaderboard: Leaderboard) -> list[str]:
    """Names of the rankers that the paper prints numbers of."""
    return [name for name in leaderboard.names if name in PAPER_MODELS]


@cache
def _tables() -> dict[str, Any]:
    text = (files("diffurecsys.reporting") / "paper_tables.json").read_text(encoding="utf-8")
    tables: dict[str, Any] = json.loads(text)
    return tables


def _scores(mean: dict[str, float], std: dict[str, float] | None) -> dict[str, Score]:
    return {name: Score(value, std[name] if std else _UNKNOWN, _N_SEEDS if std else 0) for name, value in mean.items()}
