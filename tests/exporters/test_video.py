"""MP4 and GIF as decoded: codec, length, rate, and the pictures drawn."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import imageio_ffmpeg
import numpy as np
import pytest
from organs import ORGANS, grid, make, relabelled
from PIL import Image

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.errors import OutputError
from abdoseg.exporters.job import ExportOptions, export
from abdoseg.exporters.video import slice_frames, turntable_frames
from abdoseg.rendering import WINDOWS, SliceStyle
from abdoseg.rendering.slices import ACROSS, fit_view, lesion_places

needs_ffprobe = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed")
SHORT = ExportOptions(seconds=0.4, fps=10)


def probe(path):
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json", str(path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found["streams"][0], found["format"]


def decoded(path, shape):
    """(frames, height, width, 3) as a player sees them."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-f", "rawvideo"]
    command += ["-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, *shape)


@needs_ffprobe
@pytest.mark.parametrize("kind", ["video", "turntable"])
def test_mp4_is_h264_yuv420p_of_the_length_and_rate_asked_for(tmp_path, kind):
    (file,) = export(make(options=SHORT), tmp_path, [kind])
    stream, container = probe(file)
    assert (stream["codec_name"], stream["pix_fmt"], stream["color_space"]) == ("h264", "yuv420p", "bt709")
    assert (stream["r_frame_rate"], stream["nb_frames"]) == ("10/1", "4")
    assert float(container["duration"]) == pytest.approx(0.4)
    assert stream["width"] % 2 == stream["height"] % 2 == 0
    assert file.read_bytes().find(b"moov") < file.read_bytes().find(b"mdat")  # it plays before it is there whole


def test_what_is_decoded_is_what_was_drawn(tmp_path):
    job = make(options=SHORT)
    (file,) = export(job, tmp_path, ["video"])
    drawn = np.stack(list(slice_frames(job, 10)))
    seen = decoded(file, drawn.shape[1:])
    assert seen.shape == drawn.shape
    assert np.abs(seen.astype(int) - drawn).mean() < 3


@pytest.mark.parametrize("kind", ["gif", "turntable-gif"])
def test_gif_has_the_frames_and_loops(tmp_path, kind):
    (file,) = export(make(options=SHORT), tmp_path, [kind])
    with Image.open(file) as image:
        assert image.n_frames == 4
        assert image.info["loop"] == 0
        assert image.width == 640
        legend = np.asarray(image.convert("RGB"))[:, -160:].astype(int)
    for organ in ORGANS.values():  # a palette of 256 has the legend's colours too
        assert np.abs(legend - BY_NAME[organ].colour).max(axis=2).min() < 16


def test_a_gif_of_two_panels_is_wide_enough_to_read(tmp_path):
    job = make(options=SHORT)
    (file,) = export(replace(job, truth=job.labelmap), tmp_path, ["gif"])
    with Image.open(file) as image:
        assert image.width > 850


def test_slices_run_from_superior_to_inferior_and_each_is_shown():
    job = make(options=replace(SHORT, seconds=2.2, whole_scan=True))
    labels = np.zeros_like(job.labelmap.labels)
    labels[20:40, 10:30, -2] = 1
    job = relabelled(job, labels)
    coloured = [(np.ptp(frame[:, :600].astype(int), axis=2) > 40).sum() > 500 for frame in slice_frames(job, 10)]
    assert len(coloured) == 22
    assert coloured.index(True) == 1
    assert sum(coloured) == 1


def test_slices_keep_to_the_organs_unless_the_whole_scan_is_asked_for():
    tall = grid((2.0, 2.0, 4.0), (66, 44, 60))  # 120 mm of nothing above the organs
    job = make(tall, options=replace(SHORT, seconds=3.0))
    whole = replace(job, options=replace(job.options, whole_scan=True))

    def empty(some):
        return sum((np.ptp(frame[:, :560].astype(int), axis=2) > 40).sum() < 20 for frame in slice_frames(some, 10))

    def height(some):
        return next(slice_frames(replace(some, options=replace(some.options, plane="coronal")), 10)).shape[0]

    assert empty(job) <= 30 * 10 / 29  # 5 slices, 20 mm, on either side of the organs' 19
    assert empty(whole) >= 30 * 38 / 60
    assert height(job) < height(whole)


def test_the_legend_has_each_organs_dice_where_there_is_a_truth(monkeypatch):
    notes = {}
    monkeypatch.setattr("abdoseg.exporters.video.legend", lambda *given, **named: notes.update(named["notes"]))
    job = make(options=SHORT)
    next(slice_frames(job, 10))
    assert notes == {}
    truth = job.labelmap.labels.copy()
    truth[:, :, :10][truth[:, :, :10] == 1] = 0
    next(slice_frames(replace(job, truth=replace(job.labelmap, labels=truth)), 10))
    there, common = np.count_nonzero(job.labelmap.labels == 1), np.count_nonzero(truth == 1)
    assert notes["liver"] == f"Dice {2 * common / (there + common):.3f}"
    assert notes["spleen"] == "Dice 1.000"


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_lesions_number_stands_on_its_right(plane):
    job = make().with_lesions()
    labels, view = job.labelmap.labels, fit_view(job.labelmap.geometry, plane, (600, 700))
    index = int(np.argwhere(labels == 5)[:, ACROSS[plane]].mean())
    ((number, (x, y)),) = lesion_places(view, index, labels, 5, job.lesions)
    rows, columns = np.nonzero(view.cut(labels, index) == 5)
    down, across = (size / shape for size, shape in zip(view.size_px, view.cut(labels, 0).shape, strict=True))
    assert number == 1
    assert x == pytest.approx((columns.max() + 1) * across, abs=1)
    assert rows.min() * down <= y <= (rows.max() + 1) * down
    assert lesion_places(view, 0, labels, 5, job.lesions) == []


@pytest.mark.parametrize("kind", ["gif", "turntable-gif"])
def test_a_gif_that_is_too_large_is_made_again_smaller(tmp_path, monkeypatch, kind):
    job = make(options=replace(SHORT, seconds=0.5))
    (large,) = export(job, tmp_path / "a", [kind])
    monkeypatch.setattr("abdoseg.exporters.video.GIF_BYTES", large.stat().st_size * 6 // 10)
    (small,) = export(job, tmp_path / "b", [kind])
    assert small.stat().st_size <= large.stat().st_size * 6 // 10
    with Image.open(small) as image:
        assert 420 <= image.width < 640


@pytest.mark.parametrize(("plane", "aspect"), [("axial", 88 / 132), ("coronal", 88 / 132), ("sagittal", 1.0)])
def test_every_plane_is_drawn_at_true_spacing(plane, aspect):
    job = make(options=replace(SHORT, plane=plane), scan=None)
    frame = next(slice_frames(job, 10))
    picture = (frame == 24).all(axis=2)  # the ground where there is no scan
    rows, columns = picture.any(axis=1).sum(), picture.any(axis=0).sum()
    assert rows / columns == pytest.approx(aspect, rel=0.02)


def test_the_truth_stands_beside_the_prediction():
    alone = next(slice_frames(make(options=SHORT), 10))
    job = make(options=SHORT)
    beside = next(slice_frames(replace(job, truth=job.labelmap), 10))
    assert beside.shape[1] > alone.shape[1]
    panel = (beside.shape[1] - 216) // 2
    left, right = beside[:, :panel], beside[:, panel : 2 * panel]
    assert (left[60:-30, 30:-30] == right[60:-30, 30:-30]).all()


def test_windows_and_styles_change_the_picture():
    styles = [SliceStyle(window_hu=window) for window in WINDOWS.values()]
    styles += [SliceStyle(overlay="contour"), SliceStyle(overlay="fill")]
    frames = {next(slice_frames(make(options=replace(SHORT, slice_style=style)), 10)).tobytes() for style in styles}
    assert len(frames) == len(styles)


def test_the_turn_closes_and_shows_every_organ():
    frames = list(turntable_frames(make(options=SHORT).with_surfaces(), 10))
    assert len(frames) == 4
    assert len({frame.tobytes() for frame in frames}) == 4


def test_a_case_without_organs_turns_all_the_same(tmp_path):
    job = make(options=SHORT)
    empty = relabelled(job, np.zeros_like(job.labelmap.labels))
    assert len(list(export(empty, tmp_path, ["video", "turntable"]))) == 2


def test_a_killed_encoder_leaves_no_file(tmp_path, monkeypatch):
    def dying(job, fps):
        yield from list(slice_frames(job, fps))[:2]
        raise KeyboardInterrupt

    monkeypatch.setattr("abdoseg.exporters.video.slice_frames", dying)
    with pytest.raises(KeyboardInterrupt):
        list(export(make(options=SHORT), tmp_path, ["video"]))
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_ends_badly_leaves_no_file_and_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr("abdoseg.exporters.video.H264", ["-movflags", "no_such_flag"])
    with pytest.raises(OutputError, match="no_such_flag"):
        list(export(make(options=SHORT), tmp_path, ["video"]))
    assert list(tmp_path.iterdir()) == []


def test_the_systems_ffmpeg_serves_where_imageio_ffmpeg_is_not_installed(tmp_path, monkeypatch):
    (tmp_path / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    (path,) = export(make(options=SHORT), tmp_path / "out", ["gif"])
    assert path.stat().st_size > 1000


def test_a_disk_that_fills_when_the_index_is_written_is_seen(tmp_path, monkeypatch):
    encoder = tmp_path / "ffmpeg"
    encoder.write_text("#!/bin/sh\ncat > /dev/null\necho 'Error closing file' >&2\nexit 228\n")
    encoder.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(encoder))
    with pytest.raises(OutputError, match="disk is full"):
        list(export(make(options=SHORT), tmp_path / "out", ["video"]))
    assert list((tmp_path / "out").iterdir()) == []
