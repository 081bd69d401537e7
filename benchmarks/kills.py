"""Kill a small study at random moments, resume it until it ends, and compare every artefact with an unbroken run's.

OMP_NUM_THREADS=1 python benchmarks/kills.py --kills 200 --out docs/results/kills.json
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import mlflow
from mlflow.tracking import MlflowClient

from common import write_json
from fault_study import EXPERIMENT, STAGES, artefacts, import_all, leftovers, make_project, start_run


def run_to_the_end(root: Path, log: Path, stages: tuple[str, ...] = STAGES) -> float:
    """Run a study and return its seconds."""
    began = time.perf_counter()
    process = start_run(root, log, stages)
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"a run failed:\n{log.read_text(errors='replace')[-3000:]}")
    return time.perf_counter() - began


def kill_until_done(
    root: Path, log: Path, longest: float, most: int, draw: random.Random, stages: tuple[str, ...]
) -> int:
    """Kill and resume, `most` times at most, then let the study end; return the number of kills."""
    kills = 0
    while kills < most:
        process = start_run(root, log, stages)
        process.join(draw.uniform(0.0, longest))
        if process.exitcode is not None:
            if process.exitcode != 0:
                raise SystemExit(f"a resumption failed:\n{log.read_text(errors='replace')[-3000:]}")
            return kills
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += 1
    run_to_the_end(root, log, stages)
    return kills


def tracking(root: Path) -> dict[str, int]:
    """Count what MLflow holds: runs by status, and cells with anything but one finished run."""
    uri = f"sqlite:///{root}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id], max_results=5000)
    status = Counter(run.info.status for run in runs)
    whole = Counter(
        run.info.run_name
        for run in runs
        if "mlflow.parentRunId" in run.data.tags
        and run.info.status == "FINISHED"
        and "test/NDCG_10" in run.data.metrics
    )
    cells = {
        path.parent.relative_to(root / "data/06_models" / EXPERIMENT).as_posix().replace("/", ".")
        for path in root.glob(f"data/06_models/{EXPERIMENT}/*/*/weights.safetensors")
    }
    return {
        "still_running": status["RUNNING"],
        "closed_as_killed": status["KILLED"],
        "cells_without_a_finished_run": len(cells - whole.keys()),
        "cells_tracked_twice": sum(count > 1 for count in whole.values()),
    }


def main() -> None:
    """Run trials until there were enough kills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--most", type=int, default=8, help="kills of one study")
    parser.add_argument("--last", choices=STAGES, default=STAGES[-1], help="stage after which a study is whole")
    parser.add_argument("--minutes", type=float, default=600, help="begin no further study after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    draw, began = random.Random(args.seed), time.monotonic()
    stages = STAGES[: STAGES.index(args.last) + 1]
    import_all()
    with tempfile.TemporaryDirectory() as folder:
        whole = make_project(Path(folder) / "whole")
        log = Path(folder) / "log.txt"
        first = run_to_the_end(whole, log, stages)
        expected = artefacts(whole)
        kills, studies, different, left = 0, 0, Counter[str](), Counter[str]()
        tracked: Counter[str] = Counter()
        while kills < args.kills and time.monotonic() - began < 60 * args.minutes:
            root = make_project(Path(folder) / f"study_{studies}")
            log.unlink(missing_ok=True)
            kills += kill_until_done(root, log, first, min(args.most, args.kills - kills), draw, stages)
            found = artefacts(root)
            different.update(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
            left.update(leftovers(root))
            tracked.update(tracking(root))
            studies += 1
            shutil.rmtree(root)
        result: dict[str, Any] = {
            "kills": kills,
            "studies": studies,
            "stages": list(stages),
            "artefacts_compared": len(expected) * studies,
            "artefacts_different": dict(different),
            "left_over": dict(left),
            "mlflow": dict(tracked),
            "seconds_of_an_unbroken_run": round(first, 1),
        }
    write_json(args.out, result)


if __name__ == "__main__":
    main()
