"""Many scans over Dask: real schedulers and workers, one of them killed; results as of one process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from phantom_balls import model, scan

from abdoseg.batch import run
from abdoseg.cli import commands
from abdoseg.cluster import run_on_cluster
from abdoseg.cohort.scan_cases import plan_cases
from abdoseg.errors import ResourceError, ScanError, UsageError
from abdoseg.io import write_nifti

Client = pytest.importorskip("distributed").Client
pytestmark = pytest.mark.filterwarnings("ignore")  # Dask's, of ports and closing loops
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])}


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *words], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def worker(scheduler):
    words = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0")
    return start("worker", "--scheduler-file", str(scheduler), *words)


@pytest.fixture
def cluster(tmp_path):
    """A scheduler's address and its two workers' processes."""
    file = tmp_path / "scheduler.json"
    processes = [start("scheduler", "--port", "0", "--scheduler-file", str(file), "--no-dashboard")]
    try:
        processes += [worker(file), worker(file)]
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        with Client(address) as client:
            client.wait_for_workers(2, timeout=120)
        yield address, processes[1:]
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


@pytest.fixture
def scans(tmp_path):
    volume, _ = scan()
    paths = [tmp_path / f"s{n}.nii.gz" for n in range(6)]
    for path in paths:
        write_nifti(volume.voxels, volume.stored, path)
    return paths


def slow_export(pids):
    """Says which process is at work on a case, and takes its time."""

    def export(case, volume, found):
        (pids / f"{case.name}-{os.getpid()}").touch()
        time.sleep(0.4)
        path = case.labelmap.with_name(f"{case.name}.txt")
        path.write_text("done")
        return [path]

    return export


def test_a_worker_that_is_killed_costs_nothing(cluster, scans, tmp_path):
    address, workers = cluster
    pids = tmp_path / "pids"
    pids.mkdir()
    (tmp_path / "bad.nii.gz").write_text("no scan")
    cases = plan_cases([*scans, tmp_path / "bad.nii.gz"], tmp_path / "out")
    told, results = [], []
    for result in run_on_cluster(cases, model, address, export=slow_export(pids), finished=told.append):
        results.append(result)
        if len(results) == 2:
            os.kill(workers[0].pid, signal.SIGKILL)
    assert sorted(result.case.name for result in results) == ["bad", *(f"s{n}" for n in range(6))]
    assert told == results
    assert [type(result.error) for result in results if result.error] == [ScanError]
    assert len({path.name.split("-")[1] for path in pids.iterdir()}) == 2
    made = {path.name for path in (tmp_path / "out").iterdir()}
    ends = ("_seg.nii.gz", "_volumes.csv", ".json", ".txt")
    assert made == {f"s{n}{end}" for n in range(6) for end in ends}
    alone = list(run(plan_cases(scans, tmp_path / "alone"), model))
    for result in alone:
        name = result.case.labelmap.name
        assert (tmp_path / "out" / name).read_bytes() == result.case.labelmap.read_bytes()


def test_segment_over_a_scheduler_gives_the_results_ledger_and_exit_code_of_one_process(cluster, scans, tmp_path):
    (tmp_path / "bad.nii.gz").write_text("no scan")
    words = ["segment", *map(str, scans[:2]), str(tmp_path / "bad.nii.gz"), "--stl", "--organs", "liver"]
    codes = []
    for folder, more in (("alone", []), ("spread", ["--scheduler", cluster[0]])):
        result = CliRunner().invoke(commands, [*words, "-o", str(tmp_path / folder), *more], standalone_mode=False)
        assert result.exception is None
        codes.append(result.return_value)
        ledger = [json.loads(line) for line in (tmp_path / folder / "ledger.jsonl").read_text().splitlines()]
        assert sorted((line["case"], line["status"]) for line in ledger) == [
            ("bad", "failed"), ("s0", "done"), ("s1", "done"),
        ]  # fmt: skip
    assert codes == [3, 3]
    alone, spread = (
        {path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*")} for name in ("alone", "spread")
    )
    assert alone == spread
    labels = [(tmp_path / name / "s1_seg.nii.gz").read_bytes() for name in ("alone", "spread")]
    assert labels[0] == labels[1]


def test_paths_are_reported_as_they_were_given_and_a_caller_may_stop(cluster, scans, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cases = plan_cases([Path("s0.nii.gz"), Path("s1.nii.gz")], Path("out"))
    results = run_on_cluster(cases, model, cluster[0])
    first = next(results)
    results.close()
    name = first.case.name
    assert [str(path) for path in first.written] == [
        f"out/{name}{end}" for end in ("_seg.nii.gz", "_volumes.csv", ".json")
    ]
    assert json.loads((tmp_path / "out" / f"{name}.json").read_text())["scan"] == f"../{name}.nii.gz"
    (failed,) = run_on_cluster(plan_cases([Path("absent.nii.gz")], Path("out")), model, cluster[0])
    assert str(failed.error) == "absent.nii.gz: no such file or folder"


def test_what_lost_workers_left_of_tables_and_exports_is_removed(cluster, scans, tmp_path):
    (case,) = plan_cases(scans[:1], tmp_path / "out")
    (tmp_path / "pids").mkdir()
    (tmp_path / "out").mkdir()
    for name in (f"{case.name}_lesions.csv", f"{case.name}.txt"):
        (tmp_path / "out" / f".1-00000000-00000000-{name}").touch()
    (result,) = run_on_cluster([case], model, cluster[0], export=slow_export(tmp_path / "pids"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in result.written}


def test_a_model_that_cannot_be_loaded_ends_the_run(cluster, scans, tmp_path):
    def load():
        raise ResourceError("no such device")

    with pytest.raises(ResourceError, match="no such device"):
        list(run_on_cluster(plan_cases(scans[:2], tmp_path / "out"), load, cluster[0]))


def test_a_queue_runs_the_jobs_that_a_file_describes(scans, tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "queue.yaml").write_text("cluster: local\njobs: 1\ncores: 1\nprocesses: 1\nmemory: 4GB\n")
    results = list(run_on_cluster(plan_cases(scans[:2], tmp_path / "out"), model, "queue.yaml"))
    assert [result.error for result in results] == [None, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jobs: 3\ncluster: lsd\n", "there is no cluster 'lsd'; there are slurm, pbs"),
        ("cluster: slurm\n", "jobs: 10"),
        ("- 1\n", "not the description"),
        ("cluster: slurm\njobs: 1\n", "cores"),
    ],
)
def test_a_queue_that_is_described_wrongly_is_reported(text, message, tmp_path):
    pytest.importorskip("dask_jobqueue")
    (tmp_path / "queue.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        list(run_on_cluster([], model, str(tmp_path / "queue.yaml")))


def test_what_is_no_scheduler_is_reported(monkeypatch):
    with pytest.raises(UsageError, match="give an address such as"):
        list(run_on_cluster([], model, "everywhere"))
    monkeypatch.setattr("abdoseg.cluster.PATIENCE_S", 1)
    with pytest.raises(ResourceError, match="no Dask scheduler answers"):
        list(run_on_cluster([], model, "tcp://127.0.0.1:9"))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'abdoseg\[cluster\]'"):
        list(run_on_cluster([], model, "local:1"))
