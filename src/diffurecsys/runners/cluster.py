"""A Kedro runner that gives the nodes of cells to the workers of a Dask cluster.

All other nodes run in the run's own process, which alone tracks, logs and holds the experiment's lock. Data folders
lie on a file system that all workers share. After Kedro's own pattern for Dask:
https://docs.kedro.org/en/stable/deploy/supported-platforms/dask/
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner import AbstractRunner
from kedro.runner.task import Task
from pluggy import PluginManager

from diffurecsys.datasets import AtomicSave
from diffurecsys.errors import UserError, user_error_in
from diffurecsys.files import atomic_path
from diffurecsys.hooks import DASK_RUNNER as NAME
from diffurecsys.pipelines.conventions import checkpoint_file
from diffurecsys.runners.messages import Board
from diffurecsys.runners.worker import Assignment, code_digest, run_assignment

if TYPE_CHECKING:
    from distributed import Client, Future

BEACON = ".cluster"
PATIENCE = 60.0  # seconds until a scheduler answers and has a worker
logger = logging.getLogger(__name__)


class ClusterError(UserError, RuntimeError):
    """There is no cluster to run on, or its workers died."""


class DaskRunner(AbstractRunner):
    """Runs cells on a Dask cluster.

    Args:
        address: of the scheduler, `tcp://host:8786`; None: Dask's own setting (`DASK_SCHEDULER_ADDRESS`), and where
            there is none, workers on this machine for as long as the run takes.
        workers: processes on this machine, where there is no scheduler; None: one a core.
        is_async: whether nodes of this process load and save in threads.
    """

    def __init__(self, address: str | None = None, workers: int | None = None, is_async: bool = False) -> None:
        super().__init__(is_async=is_async)
        self._address, self._workers = address, workers

    def __str__(self) -> str:
        """Return its name, as Kedro tells hooks."""
        return NAME

    def _get_executor(self, max_workers: int) -> Executor | None:
        return None

    def _run(
        self,
        pipeline: Pipeline,
        catalog: Any,  # noqa: ANN401 - Kedro's protocol lacks what its catalog has
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        """Run everything; the first error ends the run, and what workers do then is stopped at its next step."""
        folders = {node: folder for node in pipeline.nodes if (folder := cell_folder(node, catalog)) is not None}
        run = _Run(pipeline, catalog, hook_manager, run_id, self._is_async, folders)
        try:
            if not folders:
                run.to_the_end()
                return
            with _client(self._address, self._workers) as client:
                run.to_the_end(client)
        except Exception:
            self._suggest_resume_scenario(pipeline, run.done, catalog)
            raise


class _Run:
    """The state of one run."""

    def __init__(
        self,
        pipeline: Pipeline,
        catalog: DataCatalog,
        hooks: Any,  # noqa: ANN401 - pluggy's, or Kedro's empty one
        run_id: str | None,
        is_async: bool,
        folders: Mapping[Node, Path],
    ) -> None:
        self._pipeline, self._catalog, self._hooks, self._run_id = pipeline, catalog, hooks, run_id
        self._is_async, self._folders = is_async, folders
        self._mark, self._board = uuid4().hex, Board(len(folders))
        self._uses = Counter(chain.from_iterable(node.inputs for node in pipeline.nodes))
        self._todo, self.done = list(pipeline.nodes), set[Node]()
        self._away: dict[Future, Node] = {}

    def to_the_end(self, client: Client | None = None) -> None:
        """Run all nodes, those of cells on the cluster."""
        try:
            if client is None:
                self._work(None)
                return
            self._prepare()
            client.subscribe_topic(self._mark, self._board.hear)
            with self._board.shown():
                self._work(client)
        except Exception:
            if client is not None:
                client.cancel(list(self._away), force=True)
            raise

    def _prepare(self) -> None:
        self._beacon = Path(self._catalog.load("working_folder")) / BEACON
        with atomic_path(self._beacon) as temporary:
            temporary.write_text(self._mark, encoding="utf-8")
        self._threads = self._catalog.load("params:threads")

    def _work(self, client: Client | None) -> None:
        depends = self._pipeline.node_dependencies
        while self._todo or self._away:
            ready = [node for node in self._todo if depends[node] <= self.done]
            here = [node for node in ready if client is None or node not in self._folders]
            for node in ready:
                if client is not None and node in self._folders:
                    self._todo.remove(node)
                    self._away[self._submit(client, node)] = node
            if here:
                self._todo.remove(here[0])
                Task(here[0], self._catalog, self._is_async, self._hooks, self._run_id).execute()
                self._finish(here[0])
            else:
                self._take_finished()

    def _submit(self, client: Client, node: Node) -> Future:
        for name in node.outputs:  # a kill from here on leaves what is not known to be up to date
            self._hooks.hook.before_dataset_saved(dataset_name=name, data=None, node=node)
        names = {*node.inputs, *node.outputs}
        work = Assignment(
            node=node,
            datasets={name: self._catalog[name] for name in names},
            folder=self._folders[node],
            run=self._mark,
            beacon=self._beacon,
            code=code_digest(),
            threads=self._threads,
        )
        return client.submit(run_assignment, work, key=f"{node.name}-{self._mark}", pure=False)

    def _take_finished(self) -> None:
        from distributed import KilledWorker, wait

        for future in wait(list(self._away), return_when="FIRST_COMPLETED").done:
            node = self._away.pop(future)
            try:
                worker = future.result()
                self._board.finished(node.name, worker)
                self._tell_hooks(node)
            except Exception as error:
                self._hooks.hook.on_node_error(
                    error=error, node=node, catalog=self._catalog, inputs={}, is_async=False, run_id=self._run_id
                )
                if isinstance(error, KilledWorker):
                    raise ClusterError(
                        f"{node.name}: the workers that ran it died, one after another; their own logs say of what "
                        "(often of too little memory). Its checkpoint is kept: run again with --only-missing-outputs"
                    ) from error
                if user_error_in(error) is None:
                    logger.error("%s failed on a worker", node.name)
                raise
            self._finish(node)

    def _tell_hooks(self, node: Node) -> None:
        """Have this process's hooks know what a worker saved."""
        outputs: dict[str, Any] = {}
        for name in node.outputs:
            dataset = self._catalog.get(name)
            assert isinstance(dataset, AtomicSave)  # see `cell_folder`
            dataset.saved_elsewhere()
            outputs[name] = self._catalog.load(name)
        self._hooks.hook.after_node_run(
            node=node, catalog=self._catalog, inputs={}, outputs=outputs, is_async=False, run_id=self._run_id
        )
        for name, data in outputs.items():
            self._hooks.hook.after_dataset_saved(dataset_name=name, data=data, node=node)

    def _finish(self, node: Node) -> None:
        self.done.add(node)
        logger.info("Completed %d out of %d tasks", len(self.done), len(self._pipeline.nodes))
        AbstractRunner._release_datasets(node, self._catalog, self._uses, self._pipeline)


def cell_folder(node: Node, catalog: DataCatalog) -> Path | None:
    """Return the folder of the cell that a node belongs to; None for nodes that do not run on workers."""
    name = next((name for name in node.inputs if name.startswith("params:") and name.endswith(".cell")), None)
    if name is None or not all(isinstance(catalog.get(output), AtomicSave) for output in node.outputs):
        return None
    if any(type(catalog.get(source)) is MemoryDataset for source in node.inputs if not source.startswith("params:")):
        return None
    return checkpoint_file(Path(catalog.load("working_folder")), catalog.load(name)).parent


@contextmanager
def _client(address: str | None, workers: int | None) -> Iterator[Client]:
    """Connect to the cluster, or start one of this machine."""
    try:
        import dask

        from distributed import Client, LocalCluster
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"{NAME} needs Dask ({error.name} is missing): pip install 'diffurecsys[cluster]', or "
            "pip install -r requirements-scale.lock"
        ) from error
    if (address := address or dask.config.get("scheduler-address", None)) is None:
        with (
            LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout=PATIENCE)
    except OSError as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address} ({error}): start one (dask scheduler), or name another one by "
            "--runner-params=address=tcp://host:8786"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError as error:
            raise ClusterError(
                f"the Dask scheduler at {address} has no workers: start some (dask worker {address} --nthreads 1)"
            ) from error
        yield client
