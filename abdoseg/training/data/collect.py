"""Collects several datasets into one set of training data: layout, label scheme, cache, duplicates, plausibility."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from abdoseg.anatomy.label_schemes import SCHEMES
from abdoseg.anatomy.organs import BY_NAME, MAIN
from abdoseg.errors import AbdosegError, DatasetError
from abdoseg.image.volume import labels_in
from abdoseg.model.plan import members
from abdoseg.training.augment import tissue_maps
from abdoseg.training.data.cache import MANIFEST, Cache, CaseSource, PreparedCase, load_prepared, prepare_cases
from abdoseg.training.data.datasets import Dataset, DatasetCase, read_dataset
from abdoseg.training.data.layouts import ORGAN_NAMES
from abdoseg.training.data.preprocess import read_case, read_numbers
from abdoseg.training.recipes import TrainingConfig

PEEKED = 8  # label maps that are looked at when the layout alone suggests their scheme
ONE_TO_FIVE = tuple(SCHEMES["flare22"][number] for number in range(1, 6))
# Millilitres that the median case of a dataset does not exceed: twice a large adult's, which leaves room for disease.
LARGEST_ML = {"liver": 4000, "spleen": 1500, "kidney_right": 500, "kidney_left": 500, "pancreas": 250}


@dataclass(frozen=True)
class DatasetRequest:
    """A dataset as the user names it: its path, label scheme, and how often its cases are drawn.

    healthy_liver: its livers hold no tumours, so they count as annotated for them and may get synthetic ones.
    """

    root: Path
    labels: str = "auto"
    weight: float = 1.0
    healthy_liver: bool = False


@dataclass(frozen=True)
class TrainingData:
    """All cases to train on.

    patients, weights: by case. left_out: file or case, and why. remarks: warnings about implausible labels.
    """

    cache: Cache
    patients: dict[str, str]
    weights: dict[str, float]
    datasets: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]

    def scans(self) -> dict[str, str]:
        """Case to patient, of the cases with an image: those that can validate."""
        return {p.case: self.patients[p.case] for p in self.cache.cases if p.has_image}

    def shows(self, names: Sequence[str], channel: str) -> bool:
        """Whether the labels of one of these cases hold an organ of a channel."""
        cases = [self.cache.by_name[name] for name in names]
        return not _organs_seen(cases).isdisjoint(members(channel))


def collect_datasets(
    requests: Sequence[DatasetRequest],
    config: TrainingConfig,
    folder: Path,
    *,
    keep_going: bool = False,
    realign: bool = False,
) -> TrainingData:
    """Prepares every dataset for the recipe's grid.

    Args:
        requests: the datasets.
        config: the recipe.
        folder: the cache, which holds a folder for each dataset and grid.
        keep_going: leave out cases that cannot be read.
        realign: resample labels that lie on another grid than their image.

    Raises:
        DatasetError: a dataset cannot be understood or contradicts what is said of it, or two cases have one name.
        ScanError: a scan cannot be read.
        GeometryError: an image and its labels lie on different grids.
    """
    cases: list[PreparedCase] = []
    patients: dict[str, str] = {}
    weights: dict[str, float] = {}
    datasets: list[str] = []
    odd: list[str] = []
    left_out: list[tuple[str, str]] = []
    for request in requests:
        weight = 1.0
        if folders := find_prepared(request.root, config):
            prepared = tuple(one for part in folders for one in load_prepared(part))
            datasets.append(f"{request.root}: prepared, {len(prepared)} cases")
            weight = request.weight
        elif others := _prepared_grids(request.root):
            raise DatasetError(
                f"{request.root}: prepared for {', '.join(others)}, but the recipe wants {grid_name(config)}; "
                "prepare it with this recipe"
            )
        else:
            dataset = read_dataset(request.root, request.labels, request.weight)
            if (request.labels, dataset.scheme) == ("auto", "flare22"):
                _check_unambiguous(dataset)
            prepared, missed = prepare_dataset(dataset, config, folder, keep_going, realign)
            left_out += [*dataset.left_out, *missed]
            seen = _organs_seen(prepared)
            numbers = "" if dataset.scheme == ORGAN_NAMES else _numbers_in_words(dataset, seen)
            datasets.append(
                f"{request.root}: {dataset.layout}, labels {dataset.scheme}, {len(prepared)} cases{numbers}"
            )
            few = set(ONE_TO_FIVE[:4]) <= seen <= set(ONE_TO_FIVE)
            if few and (request.labels, dataset.scheme) == ("auto", "flare22"):
                odd.append(
                    f"{request.root}: labels of 1 to {len(seen)} alone, taken as FLARE22's "
                    f"{', '.join(ONE_TO_FIVE[: len(seen)])}; if 3 is the left kidney and 4 the spleen, pass --labels "
                    "abdoseg"
                )
            if dataset.scheme != ORGAN_NAMES:
                odd += _absent((case for case in prepared if not case.declared), seen)
        annotated = _limit_annotated(prepared)
        if request.healthy_liver:
            annotated = [_without_tumours(one) for one in annotated]
        for one in annotated:
            if one.case in patients:
                raise DatasetError(f"two cases are called {one.case}; rename one, or give them names in a CSV of pairs")
            cases.append(one)
            patients[one.case] = one.patient or one.case
            weights[one.case] = weight * one.weight
    _check_grid(cases, config)
    patients = _merge_duplicates(cases, patients)
    return TrainingData(
        Cache(tuple(cases)), patients, weights, tuple(datasets), tuple(left_out), (*odd, *remarks(cases))
    )


def _check_unambiguous(dataset: Dataset) -> None:
    """Checks that labels are FLARE22's where only the layout suggests it: other datasets have the same layout.

    Raises:
        DatasetError: the first label maps hold none but the numbers 1 to 3, which mean other organs in other schemes.
    """
    found: set[int] = set()
    for case in dataset.cases[:PEEKED]:
        try:
            found |= set(labels_in(read_numbers(case)[0]))
        except AbdosegError:  # told when the case is prepared
            continue
        if found - {1, 2, 3}:
            return
    if not found:
        return
    choices = [
        f"{name} ({', '.join(f'{number} {scheme[number]}' for number in sorted(found))})"
        for name, scheme in SCHEMES.items()
        if found <= set(scheme)
    ]
    liver = any("liver" in name.lower() for name in (str(dataset.root.name), *(c.name for c in dataset.cases)))
    hint = "; its names say liver, which speaks for msd-liver" if liver else ""
    raise DatasetError(
        f"{dataset.root}: its labels hold {', '.join(map(str, sorted(found)))} alone, and nothing says what they mean"
        f"{hint}; state it with --labels: {', '.join(choices)}, or a JSON file"
    )


def _numbers_in_words(dataset: Dataset, seen: set[str]) -> str:
    """The organs that were seen with their numbers, if all cases have one scheme: ": 1 liver, 2 liver_tumour"."""
    first, *others = (case.scheme for case in dataset.cases)
    pairs = [f"{number} {name}" for number, name in first.items() if {name, *members(name)} & seen]
    return f": {', '.join(pairs)}" if pairs and all(scheme == first for scheme in others) else ""


def prepare_dataset(
    dataset: Dataset, config: TrainingConfig, folder: Path, keep_going: bool = False, realign: bool = False
) -> tuple[tuple[PreparedCase, ...], tuple[tuple[str, str], ...]]:
    """Prepares a dataset below `folder`, in a folder of its own for each grid; as `prepare_cases` otherwise."""
    plan = config.plan()
    with_tissues = config.synthetic > 0
    by_name = {case.name: case for case in dataset.cases}
    grid = grid_name(config)
    key = hashlib.sha256(str(dataset.root.resolve()).encode()).hexdigest()[:6]
    firsts: dict[str, str] = {}
    sources = [
        CaseSource(
            case.name,
            _stamp(case, grid, with_tissues, realign),
            case.annotated,
            firsts.setdefault(case.patient, case.name),
            case.declared,
            case.weight,
        )
        for case in dataset.cases
    ]
    return prepare_cases(
        folder / f"{dataset.name}-{key}" / grid,
        sources,
        lambda name: read_case(by_name[name], plan, with_tissues, realign),
        keep_going,
    )


def grid_name(config: TrainingConfig) -> str:
    """The name of the folder for arrays on the recipe's grid."""
    if config.spacing_mm is None:
        return "x".join(map(str, config.patch))
    return "x".join(f"{s:g}" for s in config.spacing_mm) + "mm"


def find_prepared(root: Path, config: TrainingConfig) -> list[Path]:
    """The folders that `abdoseg prepare` wrote for the recipe's grid, at `root` or up to two levels below."""
    if (root / MANIFEST).is_file():
        return [root]
    grid = grid_name(config)
    return sorted(path.parent for depth in (grid, f"*/{grid}") for path in root.glob(f"{depth}/{MANIFEST}"))


def _prepared_grids(root: Path) -> list[str]:
    """The grids of the folders that `abdoseg prepare` wrote."""
    folders = {path.parent.name for depth in ("*", "*/*") for path in root.glob(f"{depth}/{MANIFEST}")}
    return sorted(name for name in folders if re.fullmatch(r"[\d.]+x[\d.]+x[\d.]+(mm)?", name))


def _stamp(case: DatasetCase, grid: str, with_tissues: bool, realign: bool) -> str:
    tissues = f"-tissues{tissue_maps.VERSION}" if with_tissues or not case.image else ""
    if tissues and case.declared:  # of a scan, tissue maps hold the organs that are annotated
        tissues += f"-{' '.join(case.annotated)}"
    return f"{case.stamp()}-{grid}{tissues}{'-realigned' if realign else ''}"


def _limit_annotated(prepared: Sequence[PreparedCase]) -> list[PreparedCase]:
    """The cases with `annotated` limited to organs that some case of the dataset shows, except for declared cases.

    A scheme may name an organ that this dataset's annotators never drew; background may then be that organ.
    """
    seen = _organs_seen(prepared)
    return [
        case if case.declared else replace(case, annotated=tuple(o for o in case.annotated if o in seen))
        for case in prepared
    ]


def _without_tumours(case: PreparedCase) -> PreparedCase:
    """The case as annotated for liver tumours. Raises DatasetError when it shows one."""
    if "liver_tumour" in case.facts.get("organ_ml", {}):
        raise DatasetError(f"{case.case}: its dataset is said to have healthy livers, and it has a tumour labelled")
    return replace(case, annotated=tuple(dict.fromkeys((*case.annotated, "liver_tumour"))))


def _organs_seen(prepared: Sequence[PreparedCase]) -> set[str]:
    """The organs that the labels of at least one case hold."""
    return {organ for case in prepared for organ in case.facts.get("organ_ml", {})}


def _absent(cases: Iterable[PreparedCase], seen: set[str]) -> list[str]:
    """Warnings about labelled scans that lack an organ seen in others: it may have been there and not outlined."""
    labelled = [case for case in cases if case.has_image and case.facts.get("organ_ml")]
    found = []
    for organ in (organ for organ in MAIN if organ in seen):
        without = [case.case for case in labelled if organ in case.annotated and organ not in case.facts["organ_ml"]]
        if without:
            names = f"{', '.join(without[:5])}{', ...' if len(without) > 5 else ''}"
            found.append(
                f"{organ}: {len(without)} of {len(labelled)} labelled scans have none ({names}), and teach that none "
                "is there; if nobody outlined it, list the scans in a CSV whose column annotated leaves it out"
            )
    return found


def _check_grid(cases: Sequence[PreparedCase], config: TrainingConfig) -> None:
    for case in cases:
        if config.spacing_mm is None:
            wrong = case.shape != config.patch
            wanted = f"{config.patch} voxels"
        else:
            wrong = not np.allclose(case.spacing_mm, config.spacing_mm, rtol=0.02)
            wanted = f"{config.spacing_mm} mm"
        if wrong:
            raise DatasetError(
                f"{case.case}: packed as {case.shape} voxels of {case.spacing_mm} mm, but the recipe wants {wanted}; "
                "prepare it again with this --recipe"
            )


def _merge_duplicates(cases: Sequence[PreparedCase], patients: dict[str, str]) -> dict[str, str]:
    """One scan under two names is one patient."""
    first: dict[str, str] = {}
    merged = {}
    for case in cases:
        digest = case.digests.get("image")
        patient = patients[case.case]
        merged[case.case] = first.setdefault(digest, patient) if digest else patient
    return merged


def remarks(cases: Sequence[PreparedCase]) -> list[str]:
    """Warnings about labels and images that could be read: organs of impossible size, values that are no HU."""
    found = []
    volumes: dict[str, list[float]] = {}
    for case in cases:
        for organ, ml in case.facts.get("organ_ml", {}).items():
            volumes.setdefault(organ, []).append(ml)
        if unknown := case.facts.get("unknown"):
            numbers = ", ".join(map(str, unknown[:12]))
            found.append(f"{case.case}: labels {numbers} are not in its scheme: background, as if no organ were there")
        if "organ_ml" in case.facts and not case.facts["organ_ml"]:
            found.append(f"{case.case}: its labels hold no organ at all; leave it out if nobody drew them")
        low, high = case.facts.get("hu", (-1000.0, 100.0))
        if low >= 0 or high - low < 100:
            found.append(f"{case.case}: values from {low:g} to {high:g} are no HU of a whole CT; was it rescaled?")
    for organ, most in LARGEST_ML.items():
        if organ in volumes and (middle := float(np.median(volumes[organ]))) > most:
            found.append(
                f"{organ}: {middle:.0f} ml in the middle case, more than one has: do the label numbers belong to "
                "another scheme? State it with --labels"
            )
    liver, spleen = (float(np.median(volumes.get(organ, [0.0]))) for organ in ("liver", "spleen"))
    if 0 < liver < spleen:
        found.append(
            f"the liver ({liver:.0f} ml) is smaller than the spleen ({spleen:.0f} ml) in most cases: "
            "do the label numbers belong to another scheme? State it with --labels"
        )
    return found


def adapt_recipe(config: TrainingConfig, cache: Cache, wanted: Sequence[str] | None) -> TrainingConfig:
    """The recipe for the wanted organs, or for those of its own that some case is annotated for.

    Raises:
        DatasetError: no case is annotated for a wanted organ, or for any of the recipe's.
    """
    known = {organ for case in cache.cases for organ in case.annotated}
    if wanted:
        unknown = [organ for organ in wanted if organ not in BY_NAME and members(organ) == (organ,)]
        missing = [organ for organ in wanted if not set(members(organ)) <= known]
        if unknown or missing:
            raise DatasetError(
                f"no case is annotated for {', '.join(unknown or missing)}; annotated are {', '.join(sorted(known))}"
            )
        config = config.for_organs(tuple(wanted))
        return replace(config, output_organs=tuple(wanted))
    if not (found := config.for_known(known)).organs:
        raise DatasetError(f"no case is annotated for any organ of the recipe ({', '.join(config.organs)})")
    return found


def census(cases: Sequence[PreparedCase]) -> dict[str, tuple[int, int, float]]:
    """By organ: cases annotated for it, cases that show it, and its median volume in millilitres there."""
    annotated = Counter(organ for case in cases for organ in case.annotated)
    rows = {}
    for organ in BY_NAME:
        if annotated[organ]:
            volumes = [c.facts["organ_ml"][organ] for c in cases if organ in c.facts.get("organ_ml", {})]
            rows[organ] = annotated[organ], len(volumes), float(np.median(volumes)) if volumes else 0.0
    return rows
