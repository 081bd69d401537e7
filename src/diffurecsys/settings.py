"""Kedro project settings: https://docs.kedro.org/en/stable/configure/settings/."""

import io
import os
import sys

import rich

from diffurecsys.configuration import StudyConfigLoader
from diffurecsys.context import StudyContext
from diffurecsys.errors import hide_tracebacks_of_user_errors
from diffurecsys.hooks import StudyHooks
from diffurecsys.tracking.hooks import TrackingHooks

CONTEXT_CLASS = StudyContext
CONFIG_LOADER_CLASS = StudyConfigLoader
HOOKS = (StudyHooks(), TrackingHooks())
# kedro-mlflow's hooks run inside TrackingHooks; Kedro's telemetry not at all
DISABLE_HOOKS_FOR_PLUGINS = ("kedro_mlflow", "kedro-telemetry")

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "sample",
    "config_patterns": {"globals": ["globals.yml", "datasets.yml"]},
    # an experiment's files state only what differs from base
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
}

if not rich.get_console().is_terminal and "COLUMNS" not in os.environ:
    rich.reconfigure(width=160)  # log files keep a message on one line

for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a locale without some characters costs those, not the run

hide_tracebacks_of_user_errors()
