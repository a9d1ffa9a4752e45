"""Train-validation splits by a hash of the patient: reproducible, and no patient is on both sides."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from abdoseg.errors import DatasetError


@dataclass(frozen=True)
class Split:
    """Names of training and validation cases, sorted. how: the way they were chosen, for the model card."""

    train: tuple[str, ...]
    validate: tuple[str, ...]
    how: str

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def by_fraction(patients: Mapping[str, str], fraction: float, seed: int) -> Split:
    """A fraction of the patients validates, at least one unless it is 0. patients: case to patient."""
    ranked = _ranked(patients, seed)
    count = 0 if fraction <= 0 else min(len(ranked) - 1, max(1, round(fraction * len(ranked))))
    return _split(patients, ranked[:count], f"{fraction:.0%} of the patients by hash, seed {seed}")


def by_fold(patients: Mapping[str, str], folds: int, fold: int, seed: int) -> Split:
    """Fold `fold` (from 1) of `folds` validates. Raises DatasetError when there are fewer patients than folds."""
    ranked = _ranked(patients, seed)
    if not 1 <= fold <= folds or folds < 2:
        raise DatasetError(f"fold {fold} of {folds} cannot be: folds count from 1, and two are the least")
    if len(ranked) < folds:
        raise DatasetError(f"{len(ranked)} patients cannot make {folds} folds; take fewer --folds")
    return _split(patients, ranked[fold - 1 :: folds], f"fold {fold} of {folds} by hash of the patient, seed {seed}")


def by_names(patients: Mapping[str, str], names: Sequence[str]) -> Split:
    """The named cases validate, and all other cases of their patients. Raises DatasetError for unknown names."""
    unknown = sorted(set(names) - set(patients))
    if unknown:
        raise DatasetError(
            f"no such validation case: {', '.join(unknown)}; the cases are {', '.join(sorted(patients)[:12])}"
            f"{', ...' if len(patients) > 12 else ''}"
        )
    return _split(patients, [patients[name] for name in names], "validation cases by name")


def by_file(patients: Mapping[str, str], path: Path) -> Split:
    """Validation cases from a file: JSON as in a run's split.json ({"validate": [...]}), or a name a line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: the split cannot be read ({error})") from error
    if text.lstrip().startswith("{"):
        try:
            names = [str(name) for name in json.loads(text)["validate"]]
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f'{path}: no split; write {{"validate": ["case", ...]}} or a name a line') from error
    else:
        names = [line.strip() for line in text.splitlines() if line.strip()]
    return _split(
        patients, [patients[n] for n in by_names(patients, names).validate], f"validation cases of {path.name}"
    )


def from_run(patients: Mapping[str, str], path: Path) -> Split:
    """The split of an earlier run, from its split.json."""
    split = by_file(patients, path)
    return replace(split, how=str(json.loads(path.read_text(encoding="utf-8")).get("how", split.how)))


def subsample(split: Split, patients: Mapping[str, str], count: int, seed: int) -> Split:
    """The split with the training cases of `count` patients only; with one seed, smaller sets lie in larger ones."""
    ranked = _ranked({case: patients[case] for case in split.train}, seed)
    if count > len(ranked):
        raise DatasetError(f"{count} training cases were asked for, and there are {len(ranked)}")
    chosen = set(ranked[:count])
    train = tuple(case for case in split.train if patients[case] in chosen)
    return Split(train, split.validate, f"{split.how}; {count} for training by hash, seed {seed}")


def _ranked(patients: Mapping[str, str], seed: int) -> list[str]:
    """Patients in an order that depends on their names and the seed alone."""
    return sorted(set(patients.values()), key=lambda patient: hashlib.sha256(f"{seed}:{patient}".encode()).hexdigest())


def _split(patients: Mapping[str, str], validating: Sequence[str], how: str) -> Split:
    chosen = set(validating)
    sides: dict[bool, list[str]] = defaultdict(list)
    for case, patient in sorted(patients.items()):
        sides[patient in chosen].append(case)
    if not sides[False]:
        raise DatasetError(f"no case is left to train on (cases in all: {len(patients)}; {how}); give more data")
    return Split(tuple(sides[False]), tuple(sides[True]), how)
