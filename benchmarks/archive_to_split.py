"""From an archive of made-up interactions to the split that training reads: time and peak memory of every step.

The nodes of the pipelines ingestion and preprocessing run with the catalog's datasets, in a process of their own. The
interactions are skewed as in preprocessing.py and come as RecSysDatasets does: a zip with one atomic file.

python benchmarks/archive_to_split.py --rows 100000000 --out docs/results/preprocessing_1e8.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import torch

from common import describe_machine, peak_memory, write_json
from diffurecsys.data.specs import DatasetSpec
from diffurecsys.datasets import IbisFileDataset, JSONDataset, SplitDataset
from diffurecsys.parameters import DownloadParameters, PreprocessingParameters, SplitParameters
from diffurecsys.pipelines.ingestion import nodes as ingestion
from diffurecsys.pipelines.preprocessing import nodes as preprocessing
from preprocessing import DAYS, ITEM_SKEW, ITEMS_DRAWN, USER_SKEW, USERS, K

ARCHIVE = "made.zip"
SETTINGS = PreprocessingParameters(max_length=50, user_k=K, item_k=K)
GOAL = {"seconds": 120, "peak_memory_bytes": 8 * 10**9}


def make_archive(rows: int, folder: Path) -> int:
    """Write the archive and return the size of the file in it; draws are digests of row numbers."""
    plain = folder / "made.inter"

    def draw(seed: int) -> str:
        return f"(hash(range * 3 + {seed})::DOUBLE / 18446744073709551616)"

    def name(letter: str, drawn: str, digits: int) -> str:
        return f"'{letter}' || (({drawn} * 2654435761 % 10**{digits})::BIGINT * 10**9 + {drawn})::BIGINT"

    user = f"({USERS} * {rows} * {draw(0)} ** {USER_SKEW})::HUGEINT"
    item = f"({ITEMS_DRAWN} * {rows} * {draw(1)} ** {ITEM_SKEW})::HUGEINT"
    with duckdb.connect(config={"memory_limit": "4GB", "temp_directory": str(folder)}) as connection:
        connection.execute(
            f'COPY (SELECT {name("A", user, 4)} AS "user_id:token", {name("B", item, 3)} AS "item_id:token", '
            f'1000000000 + 86400 * floor({DAYS} * {draw(2)})::BIGINT AS "timestamp:float" FROM range({rows})) '
            f"TO '{plain}' (FORMAT csv, DELIMITER '\t', HEADER, QUOTE '')"
        )
    with zipfile.ZipFile(folder / ARCHIVE, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.write(plain, plain.name)
    size = plain.stat().st_size
    plain.unlink()
    return size


def resident_bytes() -> int:
    """Memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Steps:
    """What each step took; its peak memory is sampled ten times a second."""

    def __init__(self) -> None:
        self.taken: dict[str, dict[str, float]] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Note what the block takes."""
        peak, over = [resident_bytes()], threading.Event()

        def watch() -> None:
            while not over.wait(0.1):
                peak[0] = max(peak[0], resident_bytes())

        watcher = threading.Thread(target=watch)
        watcher.start()
        began, cpu_began = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            over.set()
            watcher.join()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        self.taken[name] = {"seconds": seconds, "cpu_seconds": cpu, "peak_memory_bytes": peak[0]}
        print(name, self.taken[name], file=sys.stderr, flush=True)


def work(folder: Path, memory: str) -> None:
    """Do what the two pipelines do and print what it took, as JSON."""
    connection = {"backend": "duckdb", "memory_limit": memory, "temp_directory": str(folder / "spilled")}
    tables = {
        name: IbisFileDataset(filepath=str(folder / f"{name}.parquet"), file_format="parquet", connection=connection)
        for name in ("interactions", "core", "sequences", "users", "items")
    }
    spec, split = DatasetSpec("made", archive=ARCHIVE), SplitParameters()
    steps = Steps()
    with steps.step("obtain_archive"):
        archive = ingestion.obtain_archive(spec, DownloadParameters(), folder)
    with steps.step("read_interaction_files"):
        tables["interactions"].save(ingestion.read_interaction_files(spec, archive, folder, folder)[0])
    with steps.step("filter_interactions"):
        core, raw, divided = preprocessing.filter_interactions(tables["interactions"].load(), SETTINGS, split, spec)
        tables["core"].save(core)
    with steps.step("count_dataset"):
        counts = preprocessing.count_dataset(raw, tables["core"].load(), {}, divided)
        JSONDataset(filepath=str(folder / "counts.json")).save(counts)
    with steps.step("build_user_sequences"):
        made = preprocessing.build_user_sequences(spec, SETTINGS, split, counts, tables["core"].load())
        for name, table in zip(("sequences", "users", "items"), made, strict=True):
            tables[name].save(table)
    with steps.step("split_sequences"):
        study = preprocessing.split_sequences(tables["sequences"].load(), tables["items"].load(), SETTINGS, split)
        SplitDataset(filepath=str(folder / "split.npz")).save(study)
    print(json.dumps({"steps": steps.taken, "counts": counts, "peak_memory_bytes": peak_memory(torch.device("cpu"))}))


def measure(rows: int, memory: str, place: Path | None) -> dict[str, Any]:
    """Make an archive of this size and work on it."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        unpacked = make_archive(rows, Path(folder))
        packed = (Path(folder) / ARCHIVE).stat().st_size
        load_before = os.getloadavg()[0]
        command = [sys.executable, __file__, "--folder", folder, "--memory", memory]
        began = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.perf_counter() - began
        found = json.loads(done.stdout.splitlines()[-1])
        stored = pq.read_metadata(Path(folder) / "interactions.parquet").num_rows
    if stored != rows:
        sys.exit(f"{stored} of {rows} interactions were stored")
    cpu = sum(step["cpu_seconds"] for step in found["steps"].values())
    sizes = {"rows": rows, "archive_bytes": packed, "unpacked_bytes": unpacked}
    return {**sizes, "seconds": seconds, "cpu_seconds": cpu, "load_average_before": load_before, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--memory", default="5GB", help="DuckDB's memory_limit (connection in globals.yml)")
    parser.add_argument("--place", type=Path, help="folder for all files; default: the system's for temporary ones")
    parser.add_argument("--folder", type=Path, help="work on the archive in this folder")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.folder:
        work(args.folder, args.memory)
        return
    write_json(
        args.out,
        {
            "command": f"python benchmarks/archive_to_split.py --rows {args.rows} --memory {args.memory}",
            "machine": describe_machine(torch.device("cpu")),
            "goal": GOAL,
            **measure(args.rows, args.memory, args.place),
        },
    )


if __name__ == "__main__":
    main()
