"""Trials without Kedro and Optuna: on any machine with PyTorch and NumPy, from two files, into a folder.

    python -m diffurecsys.tuning split.npz trials.json trials/ [--processes 16] [--device cuda] [--minutes 9]

`kedro run --pipelines=ingestion,preprocessing,plan` writes both files. Trials that are over are left alone and
killed ones continued, so the command may be killed and repeated. `kedro run --pipeline=tune` takes what lies in its
`trials_folder`.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import torch

from diffurecsys.data.split import load_split
from diffurecsys.errors import UserError
from diffurecsys.processes import Job, run_jobs
from diffurecsys.tuning.trial import Trial, finished_outcomes, read_outcome, read_trial, run_trial


def run_one(trials: list[Trial], number: int, split: Path, folder: Path, device: str) -> None:
    """Run one of the listed trials in this process."""
    data, trial = load_split(split), trials[number]
    siblings = [other for other in trials if other.ranker == trial.ranker and other.number != trial.number]
    run_trial(
        trial,
        data,
        folder=folder,
        others=lambda: finished_outcomes(siblings, folder, data.fingerprint),
        device=device,
    )


def unfinished(trials: list[Trial], split: Path, folder: Path) -> list[int]:
    """Return the places of those that are not over, every ranker's first trials first."""
    fingerprint = load_split(split).fingerprint
    missing = [place for place, trial in enumerate(trials) if read_outcome(trial, folder, fingerprint) is None]
    return sorted(missing, key=lambda place: trials[place].number)


def main() -> int:
    """Run what the command line asks for; return how many trials failed to run."""
    parser = argparse.ArgumentParser(
        prog="python -m diffurecsys.tuning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("split", type=Path)
    parser.add_argument("trials", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=int, default=1, help="trials at once")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--minutes", type=float, help="stop after so long")
    parser.add_argument("--trial", type=int, help="run this one of the list alone, in this process")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    trials = [read_trial(values) for values in json.loads(arguments.trials.read_text(encoding="utf-8"))]
    if arguments.trial is not None:
        torch.set_num_threads(1)
        run_one(trials, arguments.trial, arguments.split, arguments.folder, arguments.device)
        return 0
    command = ("-m", "diffurecsys.tuning", *(str(getattr(arguments, name)) for name in ("split", "trials", "folder")))
    jobs = []
    for place in unfinished(trials, arguments.split, arguments.folder):
        file = trials[place].file(arguments.folder)
        options = ("--device", arguments.device, "--trial", str(place))
        jobs.append(Job(str(file), (*command, *options), file.with_suffix(".log")))
    return run_jobs(jobs, processes=arguments.processes, minutes=arguments.minutes)


if __name__ == "__main__":
    try:
        sys.exit(1 if main() else 0)
    except UserError as error:
        sys.exit(f"{type(error).__name__}: {error}")
