"""Batch segmentation of many scans: the next is prefetched and the last is written while one is computed."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.label_schemes import numbers_in
from abdoseg.cohort.scan_cases import ScanCase
from abdoseg.errors import AbdosegError, OutputError, OvertakenError, ResourceError, UsageError
from abdoseg.image.lesions import write_lesions
from abdoseg.image.volume import Labelmap, Stored, Volume
from abdoseg.image.volumetry import write_volumes
from abdoseg.io import write_nifti
from abdoseg.io.image_file import GridCheck, accept_any_grid
from abdoseg.model.plan import Plan
from abdoseg.quality import columns
from abdoseg.runtime.files import ensure_absent, ensure_writable, writing
from abdoseg.runtime.ledger import relative
from abdoseg.runtime.memory import release_freed_memory
from abdoseg.runtime.progress import Track, silent

if TYPE_CHECKING:  # PyTorch takes a second to import; the first scan is read meanwhile
    from abdoseg.model.weights import Model
    from abdoseg.segmentation import Segmentation

T = TypeVar("T")
LOG = logging.getLogger("abdoseg")
# Cases after which freed memory is given back to the system. Otherwise scans of all sizes fragment it: the process held
# 730 MB after 300 small scans, where 340 were in use.
RELEASE_EVERY = 16


@dataclass(frozen=True)
class BatchOptions:
    """Options of all cases of a run.

    scheme: of the labels written. organs: instead of the model's output organs. max_memory: bytes. tumour: liver
    tumours, too. reading: further arguments of `read_scan`. all_organs: all that the model knows, without `organs`.
    """

    scheme: str = "abdoseg"
    organs: tuple[str, ...] | None = None
    overwrite: bool = False
    max_memory: int | None = None
    tumour: bool = False
    reading: dict[str, Any] = field(default_factory=dict)
    all_organs: bool = False


@dataclass(frozen=True, eq=False)
class CaseResult:
    """How a case ended: with files and a segmentation's facts, or with an error."""

    case: ScanCase
    written: tuple[Path, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)
    rows: tuple[dict[str, Any], ...] = ()
    error: AbdosegError | None = None

    @property
    def seconds(self) -> float:
        """Of all stages, those that ran beside another case's included."""
        return float(sum(self.record.get("seconds", {}).values()))


Export = Callable[[ScanCase, Volume, "Segmentation"], Iterable[Path]]


def check_outputs(cases: Sequence[ScanCase], options: BatchOptions, exports: Sequence[Path] = ()) -> None:
    """Refuses before any work what would fail at its end: outputs that exist, folders that cannot be written.

    exports: further files that the cases may have. Raises OutputError.
    """
    ensure_absent([*(path for case in cases for path in case.outputs), *exports], options.overwrite)
    scans = {case.scan.resolve() for case in cases}
    for path in (path for case in cases for path in case.outputs):  # which may stand there, to be replaced
        if path.resolve() in scans:
            raise OutputError(f"{path}: this is a scan to be segmented; name another output")
    for folder in {case.labelmap.parent for case in cases}:
        ensure_writable(folder)


def run(
    cases: Sequence[ScanCase],
    load: Callable[[], Model],
    options: BatchOptions | None = None,
    export: Export | None = None,
    track: Track = silent,
    finished: Callable[[CaseResult], None] | None = None,
) -> Generator[CaseResult, None, None]:
    """Segments the cases and yields how each ended, in order. The model is loaded once, while the first scan is read.

    A scan that fails costs only itself. When the caller stops, or an interrupt does, the file that is being written
    becomes whole and no other is begun.

    Args:
        export: Writes further files of a case.
        finished: Called with a case's result as soon as its last file is whole, in the thread that wrote it, while the
            next one is computed.
    """
    options = options or BatchOptions()
    model = load() if options.max_memory else None  # it says what a scan will take, before the scan is read
    organs: tuple[str, ...] = ()
    previous: Future[CaseResult] | None = None
    reader, writer = ThreadPoolExecutor(1, "read"), ThreadPoolExecutor(1, "write")
    try:
        for number, (case, scan) in enumerate(_prefetched(reader, cases, options, model), 1):
            if model is None:
                model = load()
            organs = organs or _output_organs(model.plan, options)
            segmented = _completed(partial(_segment, scan, model, organs, options, track))
            del scan  # the volume lives on in `segmented` alone
            if previous is not None:
                yield previous.result()
            previous = writer.submit(_finish, case, segmented, options, export, finished)
            del segmented
            if number % RELEASE_EVERY == 0:
                release_freed_memory()
        if previous is not None:
            yield previous.result()
    finally:
        reader.shutdown(cancel_futures=True)
        writer.shutdown(cancel_futures=True)


@dataclass(frozen=True, eq=False)
class SegmentedScan:
    """A segmentation with the scan that it is of."""

    volume: Volume
    segmentation: Segmentation


@dataclass(frozen=True, eq=False)
class ReadScan:
    """A scan's voxels and the seconds that reading took."""

    volume: Volume
    seconds: float


def _grid_check(case: ScanCase, model: Model | None, options: BatchOptions) -> GridCheck:
    """Refuses the case when it would take more memory than the options allow."""
    if model is None or options.max_memory is None:
        return accept_any_grid
    from abdoseg.segmentation import tile_for

    def check(stored: Stored) -> None:
        try:
            tile_for(stored.geometry, model, options.max_memory)
        except ResourceError as error:
            raise ResourceError(f"{case.scan}: {error}") from error

    return check


def _prefetched(
    reader: Executor, cases: Sequence[ScanCase], options: BatchOptions, model: Model | None
) -> Iterator[tuple[ScanCase, Future[ReadScan]]]:
    """Each case with its scan, being read. The next scan is queued meanwhile, unless memory is limited."""
    upcoming: Future[ReadScan] | None = None
    for case, following in pairwise((*cases, None)):
        assert case is not None
        current = upcoming or reader.submit(_read, case, options, model)
        prefetch = following is not None and options.max_memory is None
        upcoming = reader.submit(_read, following, options, model) if following and prefetch else None
        yield case, current


def _read(case: ScanCase, options: BatchOptions, model: Model | None) -> ReadScan:
    start = time.perf_counter()
    _check_not_overtaken(case, options)
    volume = case.source.read(**options.reading, check_grid=_grid_check(case, model, options))
    return ReadScan(volume, round(time.perf_counter() - start, 4))


def _check_not_overtaken(case: ScanCase, options: BatchOptions) -> None:
    """Checks that no other run has done the case since `check_outputs` found nothing of it. Raises OvertakenError."""
    if not options.overwrite and case.record and case.record.exists():
        raise OvertakenError(f"{case.record}: another run has written this case meanwhile; its files are kept")


def _completed(work: Callable[[], T]) -> Future[T]:
    """Does the work now, and returns a finished future with its result or error."""
    done: Future[T] = Future()
    try:
        done.set_result(work())
    except Exception as error:
        done.set_exception(error)
    return done


def _output_organs(plan: Plan, options: BatchOptions) -> tuple[str, ...]:
    """The organs asked for, or those of the model's that the scheme has a number for; warns of the others.

    Raises UsageError when none is left, ModelError for organs that the model does not know.
    """
    from abdoseg.segmentation import known_organs

    tumour = ("liver_tumour",) if options.tumour else ()
    if options.organs is not None:
        return known_organs(plan, tuple(dict.fromkeys((*options.organs, *tumour))))
    channels = dict.fromkeys((*(plan.organs if options.all_organs else plan.output_organs), *tumour))
    delivered = known_organs(plan, tuple(channels))
    numbers = numbers_in(options.scheme)
    numbered = tuple(organ for organ in delivered if organ in numbers)
    if not numbered:
        raise UsageError(
            f"--labels {options.scheme}: it has no number for what the model delivers, {', '.join(delivered)}"
        )
    if numbered != delivered:
        left = ", ".join(organ for organ in delivered if organ not in numbers)
        LOG.warning("--labels %s: it has no number for %s: not written", options.scheme, left)
    return numbered


def _segment(
    scan: Future[ReadScan], model: Model, organs: tuple[str, ...], options: BatchOptions, track: Track
) -> SegmentedScan:
    from abdoseg.segmentation import segment

    read = scan.result()
    found = segment(read.volume, model, organs=organs, max_memory=options.max_memory, track=track)
    record = replace(found.record, seconds={"read": read.seconds, **found.record.seconds})
    return SegmentedScan(read.volume, replace(found, record=record))


def _finish(
    case: ScanCase,
    segmented: Future[SegmentedScan],
    options: BatchOptions,
    export: Export | None,
    finished: Callable[[CaseResult], None] | None,
) -> CaseResult:
    """Writes a case's files. What failed in reading, segmenting or writing becomes the case's error here."""
    try:
        done = segmented.result()
        others = tuple if export is None else partial(export, case, done.volume, done.segmentation)
        result = write_case(case, done.segmentation, options, others)
    except Exception as error:
        result = CaseResult(case, error=_case_error(case, error))
    if finished is not None:
        finished(result)
    return result


def write_case(
    case: ScanCase,
    found: Segmentation,
    options: BatchOptions,
    export: Callable[[], Iterable[Path]] = tuple,
    from_file: bool = True,
) -> CaseResult:
    """Writes a segmentation's files, the record last, even where `export` fails. Raises OutputError.

    Args:
        case: where they go.
        export: writes further files and names them.
        from_file: the scan is a file, and the record says where it lies.
    """
    start, overwrite = time.perf_counter(), options.overwrite
    _check_not_overtaken(case, options)
    numbers = numbers_in(options.scheme)
    rows = [replace(row, label=numbers[row.organ]) for row in found.rows]
    with writing(case.labelmap, overwrite) as temporary:
        write_nifti(_in_scheme(found.labelmap, numbers), found.labelmap.stored, temporary)
    if case.volumes:
        with writing(case.volumes, overwrite) as temporary:
            write_volumes(rows, temporary, columns(found.quality))
    outputs = case.outputs
    if case.lesions and found.lesions:
        with writing(case.lesions, overwrite) as temporary:
            write_lesions([lesion for kind in found.lesions.values() for lesion in kind], temporary)
        outputs = [*outputs[:-1], case.lesions, outputs[-1]]
    try:
        others = tuple(export())
    finally:  # with the record, `abdoseg export` can write later what could not be written now
        seconds = {**found.record.seconds, "write": round(time.perf_counter() - start, 4)}
        record = {"case": case.name, **found.record.to_dict(), "labels": options.scheme, "seconds": seconds}
        if case.record:
            if from_file:
                record |= _how_read(case, options)
            with writing(case.record, overwrite) as temporary:
                temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return CaseResult(
        case, (*outputs, *others), record, tuple(asdict(row) | {"complete": row.complete} for row in rows)
    )


def _how_read(case: ScanCase, options: BatchOptions) -> dict[str, Any]:
    """How to read the scan again, for the record: its path from there, a zip's member, and options of reading.

    The DICOM series is named in the record's `input`.
    """
    assert case.record is not None
    reading = {name: options.reading[name] for name in ("gaps", "assume_axes") if name in options.reading}
    found = {"scan": relative(case.scan, case.record.parent), "member": case.member, "reading": reading}
    return {name: value for name, value in found.items() if value}


def _in_scheme(labelmap: Labelmap, numbers: Mapping[str, int]) -> npt.NDArray[np.uint8]:
    """The labels under the numbers that a scheme gives the organs."""
    if all(numbers[organ] == label for label, organ in labelmap.organs.items()):
        return labelmap.labels
    table = np.zeros(256, np.uint8)
    for label, organ in labelmap.organs.items():
        table[label] = numbers[organ]
    stored = table[labelmap.stored.from_canonical(labelmap.labels).ravel(order="F")]
    return labelmap.stored.to_canonical(stored.reshape(labelmap.stored.geometry.shape, order="F"))


def _case_error(case: ScanCase, error: Exception) -> AbdosegError:
    """The error that a case ends with. A bug is logged with its traceback, and costs this case alone."""
    if isinstance(error, AbdosegError):
        return error
    if _is_out_of_memory(error):
        detail = str(error).splitlines()[0] if str(error) else "none left"
        return ResourceError(f"{case.scan}: memory ran out ({detail}); close other programs, or use --device cpu")
    LOG.error("%s: a bug in abdoseg; please report it with what follows", case.scan, exc_info=error)
    return AbdosegError(f"{case.scan}: {type(error).__name__}: {error}")


def _is_out_of_memory(error: Exception) -> bool:
    """Whether numpy, a GPU or PyTorch's CPU allocator had no memory left; the last has no class of its own to tell."""
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        type(error) is RuntimeError and "DefaultCPUAllocator" in str(error)
    )
