"""Typed parameters: what conf/**/parameters* may say. Anything else is an error that names the parameter."""

from diffurecsys.parameters.errors import ParameterError
from diffurecsys.parameters.flat import flatten, leaves
from diffurecsys.parameters.imports import with_digests
from diffurecsys.parameters.sections import (
    DownloadParameters,
    EvaluationParameters,
    GroupParameters,
    MapParameters,
    Parameters,
    PreprocessingParameters,
    ProbeParameters,
    RankerParameters,
    SignificanceParameters,
    StudyParameters,
    SweepParameters,
    TrackingParameters,
)
from diffurecsys.parameters.splitting import SplitParameters
from diffurecsys.parameters.validation import check_dataset_name, check_same_dataset, validate_parameters

__all__ = [
    "DownloadParameters",
    "EvaluationParameters",
    "GroupParameters",
    "MapParameters",
    "ParameterError",
    "Parameters",
    "PreprocessingParameters",
    "ProbeParameters",
    "RankerParameters",
    "SignificanceParameters",
    "SplitParameters",
    "StudyParameters",
    "SweepParameters",
    "TrackingParameters",
    "check_dataset_name",
    "check_same_dataset",
    "flatten",
    "leaves",
    "validate_parameters",
    "with_digests",
]
