"""Batch segmentation over a Dask scheduler: cases go to its workers, and what a lost worker had goes to others.

Scans, results and weights lie where every worker reaches them under the same path. Needs the extra [cluster].
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from abdoseg.batch import RELEASE_EVERY, BatchOptions, CaseResult, Export, run
from abdoseg.cohort.scan_cases import ScanCase
from abdoseg.errors import ResourceError, UsageError
from abdoseg.runtime.files import remove_leftovers
from abdoseg.runtime.memory import release_freed_memory

if TYPE_CHECKING:
    from distributed import Client

    from abdoseg.model.weights import Model

PATIENCE_S = 30  # for a scheduler to answer
# By kind of queue, the class in the module of dask-jobqueue that has its name.
QUEUES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster", "oar": "OARCluster",
          "moab": "MoabCluster", "htcondor": "HTCondorCluster", "local": "LocalCluster"}  # fmt: skip


def run_on_cluster(
    cases: Sequence[ScanCase],
    load: Callable[[], Model],
    scheduler: str,
    options: BatchOptions | None = None,
    export: Export | None = None,
    finished: Callable[[CaseResult], None] | None = None,
) -> Generator[CaseResult, None, None]:
    """Segments the cases on the scheduler's workers and yields how each ended, as it ends. See `batch.run`.

    Outputs that stand there are replaced: a lost worker may have written some of a case's. Each worker loads the model
    once and does one case at a time.

    Args:
        load: Called on the workers. It is pickled with what it holds, as `export` is, so paths in both are absolute.
        scheduler: An address such as tcp://host:8786, local:N for N processes here, or a YAML file for dask-jobqueue.
        finished: Called here, with each result before it is yielded.

    Raises:
        UsageError: for a scheduler that is none, or without Dask.
        ResourceError: when no scheduler answers.
    """
    options = replace(options or BatchOptions(), overwrite=True)
    with ExitStack() as stack:
        client = _connect(scheduler, stack)
        from distributed import KilledWorker, as_completed

        token = f"abdoseg-{secrets.token_hex(4)}"
        client.register_plugin(_model_plugin(load), name=token)
        stack.callback(client.unregister_worker_plugin, token)
        futures = {
            client.submit(_segment_on_worker, _absolute(case), token, options, export, key=f"{token}-{number}"): case
            for number, case in enumerate(cases)
        }
        stack.callback(lambda: client.cancel(list(futures)))
        written: list[Path] = []
        for future in as_completed(list(futures)):
            case, error = futures.pop(future), future.exception()
            if isinstance(error, KilledWorker):
                lost = f"{case.scan}: {error.allowed_failures + 1} workers were lost over it; it may need more memory"
                result = CaseResult(case, error=ResourceError(lost))
            elif error is not None:
                raise error
            else:
                result = _as_named(future.result(), case)
                written += result.written
            future.release()
            if finished is not None:
                finished(result)
            yield result
        tables = (case.lesions for case in cases if case.lesions)
        remove_leftovers([*written, *(path for case in cases for path in case.outputs), *tables])


def _connect(scheduler: str, stack: ExitStack) -> Client:
    """A client of the scheduler, which is started where it has to be; closed with the stack."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise UsageError(f"--scheduler needs Dask ({error}); pip install 'abdoseg[cluster]'") from error
    kind, _, count = scheduler.partition(":")
    if kind == "local" and count.isdigit() and int(count):
        cluster = LocalCluster(n_workers=int(count), threads_per_worker=1, memory_limit=None, dashboard_address=None)
        return stack.enter_context(Client(stack.enter_context(cluster)))
    if scheduler.lower().endswith((".yaml", ".yml")):
        return stack.enter_context(Client(stack.enter_context(_queue_cluster(Path(scheduler)))))
    if "://" not in scheduler and not count.isdigit():
        raise UsageError(f"--scheduler {scheduler}: give an address such as tcp://host:8786, local:N, or a .yaml file")
    try:
        return stack.enter_context(Client(scheduler, timeout=PATIENCE_S))
    except (OSError, ValueError) as error:
        raise ResourceError(f"--scheduler {scheduler}: no Dask scheduler answers ({error}); is it running?") from error


def _queue_cluster(path: Path) -> Any:
    """A cluster of dask-jobqueue: `cluster` names its kind, `jobs` their number, all else is that kind's."""
    try:
        import yaml

        import_module("dask_jobqueue")
    except ImportError as error:
        raise UsageError(f"{path}: needs dask-jobqueue ({error}); pip install 'abdoseg[cluster]'") from error
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        kind, jobs = config.pop("cluster", path.stem), int(config.pop("jobs"))
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{path}: not the description of a cluster ({error!r}); it needs `cluster: slurm`, `jobs: 10`, and the "
            "cores and memory of each"
        ) from error
    if kind not in QUEUES:
        raise UsageError(f"{path}: there is no cluster {kind!r}; there are {', '.join(QUEUES)}")
    try:
        cluster = getattr(import_module(f"dask_jobqueue.{kind}"), QUEUES[kind])(**config)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error
    cluster.scale(jobs=jobs)
    return cluster


def _model_plugin(load: Callable[[], Model]) -> Any:
    """A plugin that loads the model on a worker when its first case comes."""
    from distributed import WorkerPlugin

    class ModelOnWorker(WorkerPlugin):  # type: ignore[misc]
        def setup(self, worker: Any) -> None:
            self.lock = Lock()
            self.model: Model | None = None
            self.cases = 0

        def loaded(self) -> Model:
            if self.model is None:
                self.model = load()
            return self.model

    return ModelOnWorker()


def _segment_on_worker(case: ScanCase, token: str, options: BatchOptions, export: Export | None) -> CaseResult:
    from distributed import get_worker

    plugin = get_worker().plugins[token]
    with plugin.lock:
        (result,) = run([case], plugin.loaded, options, export)
        plugin.cases += 1
        if plugin.cases % RELEASE_EVERY == 0:
            release_freed_memory()
    return result


def _absolute(case: ScanCase) -> ScanCase:
    """The case as workers reach it, wherever they were started."""
    volumes, record = (path and path.absolute() for path in (case.volumes, case.record))
    return replace(case, scan=case.scan.absolute(), labelmap=case.labelmap.absolute(), volumes=volumes, record=record)


def _as_named(result: CaseResult, case: ScanCase) -> CaseResult:
    """The result with paths as the caller gave them."""
    folder = case.labelmap.parent
    written = (path.relative_to(folder.absolute()) for path in result.written)
    error = result.error and type(result.error)(str(result.error).replace(str(case.scan.absolute()), str(case.scan)))
    return replace(result, case=case, written=tuple(folder / path for path in written), error=error)
