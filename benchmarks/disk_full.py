"""Let the disk fill up at every stage of a small study, then make room: nothing finished is lost, and the study ends.

Needs a small file system of its own, of which everything is removed:

sudo mount -t tmpfs -o size=64m tmpfs /mnt/small
OMP_NUM_THREADS=1 python benchmarks/disk_full.py /mnt/small --out docs/results/disk_full.json
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from common import write_json
from fault_study import EXPERIMENT, artefacts, import_all, leftovers, make_project, start_run
from kills import run_to_the_end

FULL = re.compile(r"No space left on device|disk is full|disk full|Errno 28", re.IGNORECASE)


def fill(folder: Path, leave: int) -> Path:
    """Fill the file system up to `leave` bytes."""
    ballast = folder / "ballast"
    ballast.unlink(missing_ok=True)
    status = os.statvfs(folder)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, status.f_bavail * status.f_frsize - leave))
    return ballast


def used(folder: Path) -> int:
    """Bytes that lie in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Leave a share of what a study needs, run, make room, run again, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="an empty file system of its own")
    parser.add_argument("--stages", type=int, default=10, help="shares of the space that are tried")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    import_all()
    trials: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as elsewhere:
        whole, log = make_project(Path(elsewhere) / "whole"), Path(elsewhere) / "log.txt"
        run_to_the_end(whole, log)
        expected, needed = artefacts(whole), used(whole)
        for trial in range(args.stages):
            root = make_project(args.folder / "project")
            ballast = fill(args.folder, leave := int(needed * trial / args.stages))
            log.unlink(missing_ok=True)
            began = time.perf_counter()
            process = start_run(root, log)
            process.join()
            text = log.read_text(errors="replace")
            finished = sorted(path.name for path in root.glob(f"data/06_models/{EXPERIMENT}/*"))
            weights = {path: path.stat().st_mtime_ns for path in root.glob("data/06_models/**/weights.safetensors")}
            ballast.unlink()
            log.unlink()
            run_to_the_end(root, log)
            found = artefacts(root)
            trials.append(
                {
                    "free_kilobytes": leave // 1024,
                    "ended": "with an error" if process.exitcode else "with success",
                    "says_that_the_disk_is_full": bool(FULL.search(text)),
                    "cells_begun": len(finished),
                    "finished_cells_made_again": sum(path.stat().st_mtime_ns != was for path, was in weights.items()),
                    "artefacts_different": sum(
                        expected.get(name) != found.get(name) for name in expected.keys() | found.keys()
                    ),
                    "left_over": leftovers(root),
                    "seconds": round(time.perf_counter() - began, 1),
                }
            )
            shutil.rmtree(root)
    write_json(args.out, {"trials": trials, "kilobytes_of_a_study": needed // 1024})


if __name__ == "__main__":
    main()
