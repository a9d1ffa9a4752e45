"""Made-up results of `abdoseg segment`: what a run of many cases leaves in its folder, without scans or network."""

import json
import random

from PIL import Image

from abdoseg.anatomy.organs import MAIN
from abdoseg.cohort.thumbnail import thumbnail_path

MEDIAN_ML = {"liver": 1500, "kidney_right": 160, "kidney_left": 165, "spleen": 220}


def write_results(folder, count, seed=0, failures=0, reports=0, thumbnails=True):
    """Cases case0000, ...: the first `failures` failed, the next three want review, one of them with a huge spleen."""
    rng = random.Random(seed)
    (folder / "previews").mkdir(parents=True, exist_ok=True)
    lines = []
    picture = Image.effect_noise((128, 96), 60).convert("RGB")
    for number in range(count):
        case = f"case{number:04}"
        failed = number < failures
        flagged = not failed and number < failures + 3
        lines.append({
            "case": case, "status": "failed" if failed else "done", "exit_code": 3 if failed else 0,
            "error": f"{case}.nii.gz: <no> scan" if failed else None, "outputs": [],
            "finished": "2026-01-01T00:00:00+00:00",
        })  # fmt: skip
        if failed:
            continue
        volumes = {organ: ml * rng.gauss(1, 0.1) for organ, ml in MEDIAN_ML.items()}
        if number == failures:
            volumes["spleen"] = 2000.0
        write_case(folder, case, volumes, {"spleen": ["large"]} if flagged else {})
        if thumbnails:
            picture.save(thumbnail_path(folder, case), "JPEG", quality=70)
        if number < failures + reports:
            (folder / f"{case}_report.html").write_text("<!doctype html>")
    (folder / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_case(folder, case, volumes, reasons, dice=0.97):
    """One case's record and volumes. dice: predicted for every organ, .8 for those with reasons."""
    quality = {
        organ: {"confidence": 0.95, "predicted_dice": 0.8 if organ in reasons else dice,
                "reasons": reasons.get(organ, [])}
        for organ in MAIN
    }  # fmt: skip
    record = {"case": case, "versions": {"abdoseg": "0"}, "seconds": {"read": 0.5, "network": 1.0},
              "quality": quality, "warnings": [f"{organ}: look" for organ in reasons]}  # fmt: skip
    (folder / f"{case}.json").write_text(json.dumps(record))
    rows = "".join(f"{organ},1,1,{ml:.3f}\n" for organ, ml in volumes.items())
    (folder / f"{case}_volumes.csv").write_text("organ,label,voxels,volume_ml\n" + rows)
