"""abdoseg demo: a made-up patient, segmented and scored, to see that everything works."""

from __future__ import annotations

from pathlib import Path

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("abdoseg-demo"),
    show_default=True,
    metavar="FOLDER",
    help="Where scan, truth, labelmap, volumes and picture go.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Which made-up patient.")
@options.model
@options.device
@options.threads
@options.overwrite
@options.quiet
def demo(
    output: Path,
    seed: int,
    model_names: tuple[str, ...],
    device: str,
    threads: int | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Segment a made-up abdomen, and compare with its true labels.

    No patient and no network connection is needed. Look at demo_sheet.png; open demo.nii.gz with demo_seg.nii.gz over
    it in any viewer.
    """  # fmt: skip
    from dataclasses import replace

    from abdoseg.anatomy.organs import title_of
    from abdoseg.batch import BatchOptions, check_outputs, run
    from abdoseg.cohort.scan_cases import plan_cases
    from abdoseg.io import read_labels, write_nifti
    from abdoseg.metrics import dice
    from abdoseg.phantom import phantom
    from abdoseg.rendering import preview
    from abdoseg.runtime.files import ensure_absent, writing

    talk = Talk(quiet)
    scan, truth_path, sheet = output / "demo.nii.gz", output / "demo_truth.nii.gz", output / "demo_sheet.png"
    cases, batch = plan_cases([scan], output), BatchOptions(overwrite=overwrite)
    ensure_absent([scan, truth_path, sheet], overwrite)
    check_outputs(cases, batch)
    talk.say(f"making patient {seed}")
    volume, truth = phantom(seed)
    for path, array in ((scan, volume.voxels), (truth_path, truth.labels)):
        with writing(path, overwrite) as temporary:
            write_nifti(array, volume.stored, temporary)
        click.echo(path)
    (result,) = run(cases, options.model_loader(model_names, device, threads), batch, track=talk.track)
    if result.error:
        raise result.error
    labelmap = replace(read_labels(cases[0].labelmap), organs=truth.organs)
    with writing(sheet, overwrite) as temporary:
        preview(volume, labelmap, truth).save(temporary)
    for path in (*result.written, sheet):
        click.echo(path)
    for warning in result.record["warnings"]:
        talk.warn(warning)
    talk.say(f"{'organ':<14} {'ml':>6} {'true ml':>8} {'Dice':>6}")
    for row in result.rows:
        theirs, ours = truth.labels == row["label"], labelmap.labels == row["label"]
        true_ml = theirs.sum() * truth.geometry.voxel_ml
        talk.say(f"{title_of(row['organ']):<14} {row['volume_ml']:>6.0f} {true_ml:>8.0f} {dice(theirs, ours):>6.3f}")
    network_s = result.record["seconds"]["network"]
    talk.say(f"{sheet} shows it; {result.seconds:.1f} s, of which the network {network_s:.1f} s")
