"""The paper's own test: a paired t-test over metric means.

HR@5, HR@10, HR@20, NDCG@5, NDCG@10 and NDCG@20 of one system are computed from the same ranks, so they are no sample
of independent values; the test is repeated here for comparison with the paper's Table 4 and says little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class PaperTest:
    """What Table 4 prints.

    Attributes:
        t: statistic; positive where the model is ahead of the reference.
        p: two-sided.
        df: degrees of freedom, number of metrics - 1.
        average_difference_percent: mean difference in percentage points.
    """

    t: float
    p: float
    df: int
    average_difference_percent: float


def paper_t_test(means: Mapping[str, float], reference_means: Mapping[str, float]) -> PaperTest:
    """Test a model's metric means against a reference's.

    Raises:
        ValueError: the metrics differ, or there are fewer than two.
    """
    if set(means) != set(reference_means) or len(means) < 2:
        raise ValueError(
            f"both need the same metrics, at least two: got {', '.join(means)} and {', '.join(reference_means)}"
        )
    ours, theirs = list(means.values()), [reference_means[name] for name in means]
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    average = 100 * sum(differences) / len(differences)
    if max(differences) == min(differences):
        equal = differences[0] == 0
        return PaperTest(0.0 if equal else float("inf"), 1.0 if equal else 0.0, len(means) - 1, average)
    found = stats.ttest_rel(ours, theirs)
    return PaperTest(float(found.statistic), float(found.pvalue), len(means) - 1, average)
