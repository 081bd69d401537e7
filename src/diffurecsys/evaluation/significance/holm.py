"""Holm's correction for several tests (Scandinavian Journal of Statistics 6, 1979)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return the p-values of one family of tests, corrected, in the order given.

    statsmodels does the work. It is imported here because it takes a second, which every `kedro` command would wait.
    """
    from statsmodels.stats.multitest import multipletests

    corrected: NDArray[np.float64] = multipletests(np.asarray(p, dtype=np.float64), method="holm")[1]
    return corrected
