"""Where nodes run: Kedro's runners are `--runner=SequentialRunner` and `ParallelRunner`, the cluster's is here."""

from diffurecsys.runners.cluster import DaskRunner

__all__ = ["DaskRunner"]
