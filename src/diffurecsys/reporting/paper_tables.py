"""The paper's Tables 2 to 5 beside the study's own numbers."""

from __future__ import annotations

import pandas as pd

from diffurecsys.columns import MODEL, TEST, VALIDATION
from diffurecsys.evaluation.leaderboard import Leaderboard, hardware
from diffurecsys.evaluation.ranks import ALL
from diffurecsys.reporting.paper import TABLE_5, PaperResults, printed_models
from diffurecsys.reporting.text_table import (
    PAGE_METRICS,
    Columns,
    Table,
    count,
    make_table,
    number,
    p_value,
    percent,
    score,
)

CLOSER = "closer_to"


def training_times(leaderboard: Leaderboard, cells: pd.DataFrame, paper: PaperResults | None) -> pd.DataFrame:
    """Return Table 2: model, seconds, std, device, paper_seconds, ratio (paper's over ours).

    Args:
        leaderboard: whose trained rankers have a row.
        cells: one row a cell: what each ranker was trained on.
        paper: its times; None on other datasets.
    """
    rows = []
    for model in leaderboard.trained:
        seconds, own = leaderboard.training_seconds(model), cells[cells[MODEL] == model]
        printed = paper.training_seconds.get(model) if paper else None
        rows.append(
            {
                "model": model,
                "seconds": seconds.mean,
                "std": seconds.std,
                "device": ", ".join(dict.fromkeys(hardware(cell) for cell in own.to_dict("records"))),
                "paper_seconds": printed,
                "ratio": printed / seconds.mean if printed and seconds.mean > 0 else None,
            }
        )
    return pd.DataFrame(rows)


def paper_comparison(leaderboard: Leaderboard, paper: PaperResults | None) -> pd.DataFrame:
    """Return Table 3: ours on test and validation beside the paper's, and which of the two the paper's is closer to.

    Columns: model, metric, test, test_std, validation, validation_std, paper, paper_std, test_difference,
    validation_difference (ours less the paper's), closer_to. All items ranked, as in the paper; without rows on other
    datasets and where the paper printed none of the metrics.
    """
    rows = []
    for model in printed_models(leaderboard):
        for metric in leaderboard.metrics:
            printed = paper.score(model, metric) if paper else None
            if printed is None:
                continue
            test, validation = (leaderboard.score(model, split, metric, ALL) for split in (TEST, VALIDATION))
            distances = {TEST: test.mean - printed.mean, VALIDATION: validation.mean - printed.mean}
            rows.append(
                {
                    "model": model,
                    "metric": metric,
                    "test": test.mean,
                    "test_std": test.std,
                    "validation": validation.mean,
                    "validation_std": validation.std,
                    "paper": printed.mean,
                    "paper_std": printed.std,
                    "test_difference": distances[TEST],
                    "validation_difference": distances[VALIDATION],
                    CLOSER: min(distances, key=lambda split: abs(distances[split])),
                }
            )
    columns = ["model", "metric", "test", "test_std", "validation", "validation_std", "paper", "paper_std"]
    return pd.DataFrame(rows, columns=[*columns, "test_difference", "validation_difference", CLOSER])


def overall_comparison(leaderboard: Leaderboard, paper: PaperResults) -> pd.DataFrame:
    """Return Table 5 for the rankers that the study has of it: ours on test beside the paper's, all items ranked.

    Columns: model, printed_as, n_seeds, and of each metric that the report shows `<metric>`, `<metric>_paper`,
    `<metric>_relative` (ours less the paper's, over the paper's).
    """
    rows = []
    for model in leaderboard.names:
        if model not in TABLE_5:
            continue
        known = [metric for metric in PAGE_METRICS if metric in leaderboard.metrics]
        row: dict[str, object] = {"model": model, "printed_as": TABLE_5[model]}
        for metric in known:
            ours, printed = leaderboard.score(model, TEST, metric, ALL), paper.overall[model][metric]
            numbers = {"": ours.mean, "_paper": printed, "_relative": ours.mean / printed - 1}
            row |= {"n_seeds": ours.n_seeds, **{f"{metric}{part}": value for part, value in numbers.items()}}
        rows.append(row)
    return pd.DataFrame(rows)


def overall_table(comparison: pd.DataFrame) -> Table:
    """Write Table 5."""
    columns: Columns = {"model": ("ranker", str), "printed_as": ("the paper's", str), "n_seeds": ("seeds", count)}
    for metric in PAGE_METRICS:
        if metric in comparison:
            columns[metric] = (metric, score)
            columns[f"{metric}_paper"] = (f"paper, {metric}", score)
            columns[f"{metric}_relative"] = ("ours to it, %", percent)
    return make_table(
        "paper_overall",
        "Ours beside the paper's Table 5",
        comparison,
        columns,
        scope="Test targets; all items ranked; means over all seeds of each ranker.",
        caption="The paper prints means alone there, so nothing is tested; its SASRec "
        "is the one with binary cross-entropy.",
    )


def agreement(comparison: pd.DataFrame) -> list[str]:
    """Say for each model how many of the paper's numbers lie closer to our test and to our validation scores."""
    sentences = []
    for model, part in comparison.groupby("model", sort=False):
        closer = part[CLOSER].value_counts()
        sentences.append(
            f"{model}: of {len(part)} numbers that the paper prints, {closer.get(TEST, 0)} lie closer to our test "
            f"scores and {closer.get(VALIDATION, 0)} to our validation scores."
        )
    return sentences


def paper_tests_with_printed(paper_tests: pd.DataFrame, paper: PaperResults | None) -> pd.DataFrame:
    """Add what Table 4 prints for a pair, under the right label, as paper_t, paper_p, paper_average."""
    printed = paper.tests if paper else {}
    known = [
        printed.get(row["model"]) if row["reference"] == "diffurec" and row["split"] == TEST else None
        for row in paper_tests.to_dict("records")
    ]
    printed_columns = pd.DataFrame(
        {
            "paper_t": [one.t if one else None for one in known],
            "paper_p": [one.p if one else None for one in known],
            "paper_average": [one.average_difference_percent if one else None for one in known],
        },
        index=paper_tests.index,
    )
    return pd.concat([paper_tests, printed_columns], axis=1)


def training_times_table(times: pd.DataFrame) -> Table:
    """Write Table 2."""
    columns: Columns = {
        "model": ("ranker", str),
        "seconds": ("seconds", seconds_text),
        "std": ("std", seconds_text),
        "device": ("hardware", str),
        "paper_seconds": ("paper, seconds", seconds_text),
        "ratio": ("paper / ours", number),
    }
    return make_table(
        "training_times",
        "Training time (the paper's Table 2)",
        times,
        columns,
        scope="Training; no split is ranked; all seeds of each ranker.",
        caption="Training alone, without validation: mean and standard deviation over seeds. The paper does not say "
        "what its times include; the published script times validations and tests, too. Other epochs, networks or "
        "hardware make the ratio no measure of code.",
    )


def paper_comparison_table(comparison: pd.DataFrame) -> Table:
    """Write Table 3."""
    columns: Columns = {"model": ("model", str), "metric": ("metric", str)}
    headings = {
        "test": "test",
        "test_std": "std",
        "validation": "validation",
        "validation_std": "std",
        "paper": "paper",
        "paper_std": "std",
        "test_difference": "test - paper",
        "validation_difference": "validation - paper",
    }
    columns.update((key, (heading, score)) for key, heading in headings.items())
    columns[CLOSER] = ("paper is closer to", str)
    return make_table(
        "paper_comparison",
        "Ours beside the paper's (Table 3), and which split the paper's numbers agree with",
        comparison,
        columns,
        scope="Test and validation targets; all items ranked; means over all seeds of each ranker.",
        caption="The published training script prints test metrics and best validation metrics. If a column of the "
        "paper agrees with our validation scores and not with our test scores, it may hold validation metrics; after "
        "another training than the paper's the agreement says nothing.",
    )


def paper_tests_table(tests: pd.DataFrame) -> Table:
    """Write the paper's own test (Table 4)."""
    columns: Columns = {
        "model": ("model", str),
        "reference": ("reference", str),
        "split": ("split", str),
        "t": ("t", number),
        "p": ("p", p_value),
        "df": ("df", str),
        "average_difference_percent": ("average difference, points", number),
        "paper_t": ("paper, t", number),
        "paper_p": ("paper, p", p_value),
        "paper_average": ("paper, average", number),
    }
    return make_table(
        "paper_tests",
        "The paper's own test (Table 4): paired t over metric means",
        tests,
        columns,
        scope="Both splits; all items ranked; metric means over all seeds of each ranker.",
        folded=True,
        caption="Six overlapping metrics of one system are no independent sample, so this p says little. The paper's "
        "values stand under the model they were computed from: recomputed from its Table 3, the two rows of each "
        "dataset in Table 4 carry each other's labels.",
    )


def seconds_text(value: float) -> str:
    """Write seconds with one decimal."""
    return f"{value:,.1f}"
