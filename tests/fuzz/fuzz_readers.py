"""Fuzzes the readers with mutated scans: python tests/fuzz/fuzz_readers.py --runs 20000 [--seed 0] [--corpus FOLDER]

Every input must give a Volume or an AbdosegError: no other exception, no warning, no crash of the interpreter, no
hang over 10 s, no file left behind, and no more than 4 GB. Inputs are mutated in worker processes, so that a crash or
a hang costs one input and is reported with the number that repeats it: --first N --runs 1.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import queue
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections import Counter
from pathlib import Path

HANG_S = 10
MEMORY_BYTES = 4 * 2**30
ROOT = Path(__file__).resolve().parents[1]
NUMBERS = [0, 1, 2, 3, 4, 127, 128, 255, 256, 348, 540, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1]


def make_corpus(folder: Path) -> None:
    """Phantoms of every format, small, one folder a case."""
    sys.path.insert(0, str(ROOT))
    import nibabel
    import numpy as np
    import phantom_dicom
    import SimpleITK as sitk
    from phantom_dicom import AXIAL, ENHANCED_CT, body, tilted, write_series
    from pydicom import uid

    numbers = itertools.count(1)
    phantom_dicom.generate_uid = lambda: f"1.2.3.{next(numbers)}"  # the same corpus in every run
    hu = body((40, 36, 3))
    plain = {"names": lambda at: f"IM{at}"}
    write_series(folder / "explicit", hu, **plain)
    write_series(folder / "tilt", hu, tilted(AXIAL, 12), transfer_syntax=uid.ImplicitVRLittleEndian, **plain)
    write_series(folder / "gap", body((40, 36, 6)), missing=[2], localizer=True, company=["seg"], dicomdir=True)
    for name in ("ExplicitVRBigEndian", "DeflatedExplicitVRLittleEndian", "RLELossless", "JPEGLosslessSV1",
                 "JPEGLSLossless", "JPEG2000Lossless"):  # fmt: skip
        write_series(folder / name, hu, transfer_syntax=getattr(uid, name), bits_stored=12, **plain)
    write_series(folder / "enhanced", hu, enhanced=ENHANCED_CT, **plain)
    (folder / "zip").mkdir()
    for file in (folder / "explicit").iterdir():
        os.utime(file, (10**9, 10**9))
    shutil.make_archive(str(folder / "zip" / "scan"), "zip", folder / "explicit")
    for name in ("a.nii", "a.nii.gz", "a.hdr"):
        target = folder / f"nifti-{name}"
        target.mkdir()
        kind = nibabel.Nifti1Pair if name.endswith("hdr") else nibabel.Nifti1Image
        nibabel.save(kind(hu[:12, :11], AXIAL), target / name)
    (folder / "nifti2").mkdir()
    nibabel.save(nibabel.Nifti2Image(hu[:12, :11].astype(np.float32), AXIAL), folder / "nifti2" / "a.nii")
    image = sitk.GetImageFromArray(hu[:12, :11].T)
    for name in ("a.mha", "a.mhd", "a.nrrd", "a.nhdr"):
        for packed in (False, True):
            target = folder / f"itk-{name}-{packed}"
            target.mkdir()
            sitk.WriteImage(image, str(target / name), packed)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to six mutations, most of them in the first kilobytes, where headers are."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 6])):
        if not out:
            break
        reach = len(out) if rng.random() < 0.3 else min(len(out), rng.choice([64, 400, 1500, 4000]))
        at = rng.randrange(reach)
        action = rng.randrange(8)
        if action == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif action == 1:
            out[at] = rng.randrange(256)
        elif action == 2:
            size = rng.choice([1, 2, 4, 8])
            out[at : at + size] = (rng.choice(NUMBERS) % 2 ** (8 * size)).to_bytes(size, rng.choice(["little", "big"]))
        elif action == 3:
            del out[at:]
        elif action == 4:
            del out[at : at + rng.choice([1, 2, 4, 100])]
        elif action == 5:
            out[at:at] = out[at : at + rng.choice([1, 2, 8, 200])]
        elif action == 6:
            out[at : at + rng.choice([4, 16, 64])] = bytes(rng.choice([4, 16, 64]))
        else:
            text = rng.choice([b"nan", b"inf", b"-1", b"1e999", b"..\\..", b"\0", b"9" * 16, "ž".encode()])
            out[at : at + len(text)] = text
    return bytes(out)


def one_input(number: int, seed: int, cases: list[Path], work: Path) -> str:
    """Makes input `number`, reads it, and gives 'read' or the error's name. Raises whatever is a finding."""
    from abdoseg.errors import AbdosegError
    from abdoseg.io import read_scan

    rng = random.Random(f"{seed}-{number}")
    case = rng.choice(cases)
    target = work / "input"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(case, target)
    files = sorted(path for path in target.rglob("*") if path.is_file())
    for path in rng.sample(files, min(len(files), rng.choice([1, 1, 2, 3]))):
        path.write_bytes(mutated(path.read_bytes(), rng))
    before = sorted(work.rglob("*"))
    path = target if rng.random() < 0.4 else rng.choice(files)
    options = {"gaps": rng.choice(["fail", "fill", "split"]), "assume_axes": rng.random() < 0.5}
    try:
        volume = read_scan(path, **options)
        outcome = "read"
        assert volume.voxels.shape == volume.geometry.shape
    except AbdosegError as error:
        outcome = type(error).__name__
        assert str(error).strip()
    assert sorted(work.rglob("*")) == before, "a file was left behind"
    return outcome


def worker(args: argparse.Namespace) -> None:
    """Reads inputs from `first` on and says on stdout how each went."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", module="pydicom")  # as the command line does
    cases = sorted(path for path in args.corpus.iterdir() if path.is_dir())
    with tempfile.TemporaryDirectory() as work:
        for number in range(args.first, args.first + args.runs):
            try:
                print(number, one_input(number, args.seed, cases, Path(work)), flush=True)
            except Exception:
                text = io.StringIO()
                traceback.print_exc(limit=-3, file=text)
                print(number, "FINDING", text.getvalue().strip().replace("\n", " | "), flush=True)


def run(args: argparse.Namespace) -> int:
    """Runs workers until every input was tried; prints the findings and gives their number."""
    outcomes: Counter[str] = Counter()
    findings = []
    number, last = args.first, args.first + args.runs
    while number < last:
        command = [sys.executable, __file__, "--worker", "--first", str(number), "--runs", str(last - number),
                   "--seed", str(args.seed), "--corpus", str(args.corpus)]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True).start()
        threading.Thread(target=process.stderr.read, daemon=True).start()
        while True:
            try:
                line = lines.get(timeout=HANG_S + (20 if number == args.first else 0))
            except queue.Empty:
                process.kill()
                findings.append(f"{number} FINDING hang over {HANG_S} s")
                print(findings[-1], flush=True)
                number += 1
                break
            if line is None:
                if process.wait() != 0:
                    findings.append(f"{number} FINDING the interpreter died, exit code {process.returncode}")
                    print(findings[-1], flush=True)
                    number += 1
                break
            outcomes[line.split()[1]] += 1
            if "FINDING" in line:
                findings.append(line.strip())
                print(findings[-1], flush=True)
            number = int(line.split()[0]) + 1
        process.wait()
    print(f"{args.runs} inputs, seed {args.seed}: {dict(outcomes)}; {len(findings)} findings")
    return len(findings)


def _pump(stream: io.TextIOBase, lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", type=Path, help="folder of cases, a folder each, in place of phantoms")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        if args.corpus is None:
            args.corpus = Path(folder)
            make_corpus(args.corpus)
        return 1 if run(args) else 0


if __name__ == "__main__":
    sys.exit(main())
