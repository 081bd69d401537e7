"""Holm's correction for several tests (Scandinavian Journal of Statistics 6, 1979)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return the p-values of one family of tests, corrected, in the order given; missing ones are no tests and stay.

    The k-th smallest of n is multiplied by n - k + 1; none is less than one before it, nor more than 1.
    """
    given = np.asarray(p, dtype=np.float64)
    corrected = np.full(given.shape, np.nan)
    order = np.argsort(given, kind="stable")[: int((~np.isnan(given)).sum())]  # NaN sorts last
    factors = len(order) - np.arange(len(order))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(given[order] * factors))
    return corrected
