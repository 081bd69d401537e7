"""How long users wait before anything happens: imports, `kedro --help`, `kedro run` up to its first node.

python benchmarks/start_up.py --out docs/results/start_up.json
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from common import PROJECT, describe_machine, write_json

PYTHON = [sys.executable, "-c"]
KEDRO = [sys.executable, "-m", "kedro"]
FIRST_NODE = "Running node"  # how Kedro announces every node, if its log may

COMMANDS = {  # limits first: what no project of ours can fall below
    "python": [*PYTHON, "pass"],
    "import torch": [*PYTHON, "import torch"],
    "import kedro": [*PYTHON, "import kedro.framework.cli.cli"],
    "import mlflow": [*PYTHON, "import mlflow"],
    "import diffurecsys": [*PYTHON, "import diffurecsys"],
    "import diffurecsys.models": [*PYTHON, "import diffurecsys.models"],
    "kedro --help": [*KEDRO, "--help"],
    "kedro registry list": [*KEDRO, "registry", "list"],
}


def seconds(command: list[str], folder: Path) -> float:
    """Time a command from start to end."""
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    return time.perf_counter() - began


def seconds_to_first_node(pipeline: str, folder: Path) -> float:
    """Start a run and stop it when its first node begins."""
    command = [*KEDRO, "run", f"--pipeline={pipeline}"]
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        assert run.stdout is not None
        lines = []
        for line in run.stdout:
            lines.append(line)
            if FIRST_NODE in line:
                taken = time.perf_counter() - began
                run.kill()
                return taken
    sys.exit(f"kedro run ended before a node began:\n{''.join(lines)}")


def copy_project(folder: Path) -> None:
    """Make an empty project of the same configuration and code."""
    for name in ("conf", "src"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", folder)
    logging_file = folder / "conf" / "logging.yml"
    quiet = "kedro.pipeline.node:\n    level: WARNING"
    text = logging_file.read_text(encoding="utf-8")
    assert quiet in text
    logging_file.write_text(text.replace(quiet, "kedro.pipeline.node:\n    level: INFO"), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_project(folder)
        for number in range(args.rounds + 1):
            one = {what: seconds(command, folder) for what, command in COMMANDS.items()}
            for pipeline in ("ingestion", "train_eval"):
                one[f"kedro run --pipeline={pipeline}, to its first node"] = seconds_to_first_node(pipeline, folder)
            if number:  # the first round fills the file cache and compiles
                for what, time_taken in one.items():
                    taken.setdefault(what, []).append(time_taken)
    write_json(
        args.out,
        {
            "command": "python benchmarks/start_up.py",
            "machine": describe_machine(torch.device("cpu")),
            "seconds": {what: median(times) for what, times in taken.items()},
            "rounds": taken,
        },
    )


if __name__ == "__main__":
    main()
