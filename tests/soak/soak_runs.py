"""What the soak programs have in common: commands on phantoms in processes of their own, and what files must hold.

Processes are forked from one that has imported everything, so that a run takes a tenth of a second, not two.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib
import io
import json
import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "training")]
WRITERS = ("segment", "export", "train")  # of many files each
SEGMENT_FORMATS = ("--stl", "--sheet", "--report", "--dicom-seg")
EXPORT_FORMATS = (
    "--stl", "--ply", "--obj", "--glb", "--csv", "--video", "--gif", "--sheet", "--nrrd", "--mha", "--dicom-seg",
    "--rtstruct", "--dicom-sr", "--report", "--fps", "4", "--seconds", "1",
)  # fmt: skip


@dataclass(frozen=True)
class Command:
    """words: of the first call. again: of the call after it was stopped, which is to end as the first would have.

    prepared: a folder whose files lie in out/ before.
    """

    words: tuple[str, ...]
    again: tuple[str, ...]
    prepared: Path | None = None


def make_commands(folder: Path, light: bool = False) -> dict[str, Command]:
    """Phantoms in `folder`, and by name the commands on them; they write to out/ below where they run.

    light: fewer cases, formats and epochs.
    """
    import numpy as np
    import phantom_balls
    from phantom_dicom import write_series
    from tiny import RECIPE, flare

    from abdoseg.anatomy.organs import MAIN
    from abdoseg.io import read_scan, write_nifti

    cases = ("a", "b") if light else ("a", "b", "c")
    affine = np.diag([-4.0, -4.0, 6.0, 1.0])
    affine[:3, 3] = 80, 60, 0
    (folder / "labels").mkdir(parents=True)
    for number, case in enumerate(cases):
        volume, truth = phantom_balls.scan((4.0, 4.0, 6.0), (40, 30, 20), affine=affine)
        voxels = volume.voxels + (volume.voxels > -900).astype(np.int16) * number
        write_series(folder / "scans" / case, voxels, affine, names=lambda at: f"IM{at}")
        stored = read_scan(folder / "scans" / case).stored
        write_nifti(stored.to_canonical(truth), stored, folder / "labels" / f"{case}_seg.nii.gz")
    recipe = {
        "organs": MAIN, "spacing_mm": RECIPE.spacing_mm, "patch": RECIPE.patch, "network": RECIPE.network,
        "epoch_steps": 2, "epochs": 2 if light else 4, "warmup_steps": 1,
    }  # fmt: skip
    (folder / "recipe.json").write_text(json.dumps(recipe))
    flare(folder / "FLARE22", 4)
    labels = [str(folder / "labels" / f"{case}_seg.nii.gz") for case in cases]
    segment = ("segment", str(folder / "scans"), "-o", "out", "--threads", "1", *SEGMENT_FORMATS)
    export = (
        "export",
        *labels,
        "-o",
        "out",
        "--labels",
        "abdoseg",
        "--scan",
        str(folder / "scans"),
        *(SEGMENT_FORMATS if light else EXPORT_FORMATS),
    )
    train = (
        "train", "--data", str(folder / "FLARE22"), "--recipe", str(folder / "recipe.json"), "-o", "out/run",
        "--cache", "out/cache", "--device", "cpu", "--threads", "1", "--val-cases", "case3",
    )  # fmt: skip
    truths = str(folder / "labels")
    scores = ("eval", truths, truths, "-o", "out/scores.csv", "--report", "out/scores.html")
    convert = ("convert", str(folder / "FLARE22" / "images" / "case0_0000.nii.gz"), "-o", "out/a.nii.gz")
    report = ("report", "out")
    (folder / "results").mkdir()
    for number in range(40):
        case, organs = f"case{number:02}", ("liver", "spleen")
        record = {"case": case, "versions": {"abdoseg": "0"}, "seconds": {"read": 1.0}, "quality": {}, "warnings": []}
        (folder / "results" / f"{case}.json").write_text(json.dumps(record))
        rows = "".join(f"{organ},{label},9,{number + 1}\n" for label, organ in enumerate(organs))
        (folder / "results" / f"{case}_volumes.csv").write_text(f"organ,label,voxels,volume_ml\n{rows}")
    return {
        "segment": Command(segment, (*segment, "--resume")),
        "export": Command(export, (*export, "--overwrite")),
        "train": Command(train, (*train, "--resume")),
        "eval": Command(scores, (*scores, "--overwrite")),
        "convert": Command(convert, (*convert, "--overwrite")),
        "report": Command(report, report, folder / "results"),
    }


def arguments(description: str | None, *flags: tuple[str, dict]) -> argparse.ArgumentParser:
    """The parser of a soak program: its own flags, and those that all have."""
    parser = argparse.ArgumentParser(description=description)
    for name, settings in flags:
        parser.add_argument(name, **settings)
    parser.add_argument("--light", action="store_true", help="fewer cases, formats and epochs")
    return parser


def soak(description: str | None, counted: str, default: int, run: Callable, words: Sequence[str] | None) -> int:
    """A soak program whose runs are seeded: its exit code, after `run` has tried each command that writes many files.

    run: called with a command's name, itself, a folder, how often (the flag `counted`) and the seed; gives how much was
    found.
    """
    flags = (counted, {"type": int, "default": default, "dest": "count"}), ("--seed", {"type": int, "default": 0})
    args = arguments(description, *flags, ("--only", {"choices": WRITERS})).parse_args(words)
    import_all()
    with tempfile.TemporaryDirectory() as folder:
        commands = make_commands(Path(folder) / "data", args.light)
        chosen = [args.only] if args.only else WRITERS
        findings = sum(run(name, commands[name], Path(folder), args.count, args.seed) for name in chosen)
    return 1 if findings else 0


def import_all() -> None:
    """Imports what the commands import when they need it. A network may not run here: PyTorch's threads do not fork."""
    import phantom_balls
    import tiny  # noqa: F401

    import abdoseg.model.weights
    from abdoseg.cli import COMMANDS
    from abdoseg.cli.process import import_torch
    from abdoseg.exporters import EXPORTERS

    import_torch()
    for module in (
        "highdicom", "trimesh", "zmesh", "fast_simplification", "SimpleITK", "imageio_ffmpeg", "isal.igzip_threaded",
        "abdoseg.segmentation", "abdoseg.batch", "abdoseg.training.experiments.runs", "abdoseg.evaluation.report",
        "abdoseg.cohort.index_page", *(f"abdoseg.exporters.{e.function.split(':')[0]}" for e in EXPORTERS.values()),
        *(place.split(":")[0] for place in COMMANDS.values()),
    ):  # fmt: skip
        importlib.import_module(module)
    abdoseg.model.weights.load_model = _loading(abdoseg.model.weights.load_model, phantom_balls.model)


def _loading(load: Callable, model: Callable) -> Callable:
    """Loads the phantoms' own model where none is named, otherwise as ever."""
    return lambda name=None, device="auto": model() if name is None else load(name, device)


def start(words: Sequence[str], folder: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """The number of a process that runs a command in `folder`; what it says goes to log beside it.

    prepare: called in the process before.
    """
    process = os.fork()
    if process:
        return process
    with contextlib.suppress(BaseException):
        log = os.open(log_of(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(folder)
        sys.argv = ["abdoseg", *words]
        try:
            from abdoseg.cli import main

            prepare()
            main()
        except BaseException:
            os.write(2, traceback.format_exc().encode())
    os._exit(1)


def log_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")


def ended(process: int) -> int:
    """Waits for a process; its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def killed_after(process: int, seconds: float) -> bool:
    """Kills the process after so long; False when it ended before."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitpid(process, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    os.kill(process, signal.SIGKILL)
    ended(process)
    return True


def files_of(folder: Path) -> dict[str, Path]:
    """The files below a folder by their names in it."""
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def hidden(names: Sequence[str]) -> list[str]:
    """The temporary files among them, and claims."""
    return [name for name in names if Path(name).name.startswith(".") or name.endswith(".part")]


def check_whole(folder: Path) -> list[str]:
    """What is wrong with the files that have a final name: cut short, or not readable."""
    found = []
    for name, path in files_of(folder).items():
        if not hidden([name]):
            try:
                _check(path)
            except Exception as error:
                found.append(f"{name}: {type(error).__name__}: {error}"[:300])
    return found


def _check(path: Path) -> None:
    """Reads a file to its end with a reader of its format, not ours where there is another."""
    import nibabel
    import numpy as np
    import pydicom
    import SimpleITK as sitk
    import trimesh
    from PIL import Image
    from safetensors.numpy import load_file

    kind = "".join(path.suffixes[-2:]) if path.name.endswith(".nii.gz") else path.suffix
    data = path.read_bytes()
    if kind == ".nii.gz":
        assert np.asarray(nibabel.load(path).dataobj).size
    elif kind == ".csv":
        rows = list(csv.reader(io.StringIO(data.decode())))
        assert len({len(row) for row in rows}) == 1 and data.endswith(b"\n"), "lines of several lengths"
    elif kind == ".json":
        json.loads(data)
    elif kind == ".jsonl":
        assert data.endswith(b"\n") and all(json.loads(line) for line in data.splitlines())
    elif kind == ".stl":
        assert len(data) == 84 + 50 * struct.unpack("<I", data[80:84])[0]
    elif kind in (".ply", ".obj", ".glb"):
        assert trimesh.load(path) is not None
    elif kind in (".mp4", ".gif"):
        import imageio_ffmpeg

        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-f", "null", "-"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert not done.stderr, done.stderr
    elif kind in (".png", ".jpg"):
        with Image.open(path) as image:
            image.load()
    elif kind in (".nrrd", ".mha"):
        assert sitk.ReadImage(str(path)).GetNumberOfPixels()
    elif kind == ".dcm":
        dataset = pydicom.dcmread(path)
        assert dataset.Modality != "SEG" or dataset.pixel_array.size
    elif kind == ".html":
        assert data.rstrip().endswith(b"</html>")
    elif kind == ".svg":
        ElementTree.fromstring(data)
    elif kind == ".safetensors":
        assert load_file(path)
    elif kind == ".npy":
        assert np.load(path).size
    else:
        assert kind == ".md" and data, "a file of no known kind"


# What may differ between a run that was stopped and one that was not: times, and the memory and the calls of a run.
RECORD_OWN = ("seconds", "peak_memory_bytes")
LEDGER_OWN = ("finished", "seconds")
PROGRESS_OWN = ("seconds", "validation_s", "validated_s")


def content(path: Path) -> bytes:
    """A file's bytes, without what may differ between two runs."""
    data = path.read_bytes()
    if path.suffix == ".json":
        values = json.loads(data)
        own = RECORD_OWN if "versions" in values else ()
        return json.dumps({name: value for name, value in values.items() if name not in own}).encode()
    if path.suffix == ".jsonl":  # a case's last line counts
        lines = {line["case"]: line for line in map(json.loads, data.splitlines())}
        kept = [{k: v for k, v in line.items() if k not in LEDGER_OWN} for _, line in sorted(lines.items())]
        return json.dumps(kept).encode()
    if path.name in ("cohort.csv", "log.csv"):
        rows = list(csv.DictReader(io.StringIO(data.decode())))
        return json.dumps([{k: v for k, v in row.items() if k != "seconds"} for row in rows]).encode()
    if path.name == "index.html":  # the last cell is the seconds
        return re.sub(rb"<td[^>]*>[^<]*</td></tr>", b"", data)
    if path.suffix == ".html":
        return re.sub(rb"<th[^>]*>(seconds: \w+|peak memory)</th>\s*<td>[^<]*</td>", b"", data)
    if path.name == "MODEL_CARD.md":
        return re.sub(rb"(?m)^- (command|trained): .*$", b"", data)
    if path.suffix == ".safetensors":
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        for key, text in header["__metadata__"].items():
            values = json.loads(text)
            for own in PROGRESS_OWN:
                values.pop(own, None)
                values.get("training", {}).pop(own, None)
            header["__metadata__"][key] = values
        return json.dumps(header).encode() + data[end:]
    return data


def differences(folder: Path, reference: Path) -> list[str]:
    """The files that differ between two folders, or that one of them lacks."""
    ours, theirs = files_of(folder), files_of(reference)
    found = [f"{name}: only in one" for name in sorted(set(ours) ^ set(theirs))]
    both = sorted(set(ours) & set(theirs))
    return found + [f"{name}: other bytes" for name in both if content(ours[name]) != content(theirs[name])]


def log_text(folder: Path) -> str:
    """What the last run in a folder wrote to stderr and stdout."""
    return log_of(folder).read_text(errors="replace")


def as_words(command: Sequence[str]) -> str:
    return shlex.join(["abdoseg", *command])[:160]
