"""Videos of slices and of turning organs, MP4 and GIF, encoded by ffmpeg: imageio-ffmpeg's, or the system's.

ffmpeg is run here and not by imageio's writers: those never look at its exit status, so that a video that a full disk
cut short passes for whole, and imageio's GIF of 86 frames takes 6.1 s and 9.7 MB where ffmpeg's takes 2.6 s and 8.5 MB.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from PIL import Image, ImageDraw

from abdoseg.anatomy.organs import BY_NAME, LESION
from abdoseg.exporters import find_ffmpeg
from abdoseg.exporters.job import Job
from abdoseg.image.volume import Labelmap
from abdoseg.metrics.overlap import confusion
from abdoseg.rendering import rasterizer
from abdoseg.rendering.captions import DIM, GROUND, INK, annotate, captioned_size, font, legend, window_text, write
from abdoseg.rendering.slices import (
    ACROSS,
    RGB,
    View,
    colour_of,
    draw_slice,
    fit_view,
    lesion_places,
    organ_box,
    whole_grid,
)

PANEL_PX = (600, 760)  # height, width at most
PANEL_BESIDE_PX = (520, 560)  # of each of two
SOLID_PX = (560, 640)
LEGEND_PX = 216
SLICES_A_SECOND = 20
SHORTEST_S, LONGEST_S, TURN_S = 4.0, 15.0, 6.0
GIF_FPS, GIF_LONGEST_S, GIF_PX, GIF_LEAST_PX = 12, 5.0, 640, 420  # widths of one panel with its legend
GIF_BYTES = 3_000_000
MARGIN_MM = 20.0  # of slices around the organs
THREADS, AHEAD = 2, 8  # of the turntable: pictures drawn at a time, and kept
# H.264 that browsers and PowerPoint play, with the colours said, the index in front, and no trace of the machine.
H264 = [
    *("-crf", "20", "-preset", "veryfast", "-profile:v", "high", "-threads", "2", "-movflags", "+faststart"),
    *("-fflags", "+bitexact", "-flags:v", "+bitexact"),
    *("-vf", "scale=out_color_matrix=bt709:out_range=tv,setparams=color_primaries=bt709:color_trc=bt709"),
    *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"),
]
# 128 colours take four fifths of the bytes of 256, and nobody sees it on noise.
GIF = (
    "fps={fps:.3f},scale={width}:-2:flags=lanczos,split[a][b];[a]palettegen=max_colors=128[p];"
    "[b][p]paletteuse=dither=bayer:bayer_scale=5:diff_mode=rectangle"
)


def write_slices_mp4(job: Job, target: Path) -> None:
    """Slices around the organs, from superior, anterior or right on; beside them the truth, when given."""
    _encode(slice_frames(job, job.options.fps), target, job.options.fps, "libx264", "yuv420p", H264)


def write_slices_gif(job: Job, target: Path) -> None:
    """The same pictures, at most twelve a second and five seconds, unless asked for otherwise."""
    _encode_gif(job, slice_frames, target)


def write_turntable_mp4(job: Job, target: Path) -> None:
    """The organs' surfaces in one turn about the patient's long axis; lesions are seen through the organs."""
    _encode(turntable_frames(job, job.options.fps), target, job.options.fps, "libx264", "yuv420p", H264)


def write_turntable_gif(job: Job, target: Path) -> None:
    """The same turn, at most twelve pictures a second."""
    _encode_gif(job, turntable_frames, target)


def slice_frames(job: Job, fps: int, longest_s: float = LONGEST_S) -> Iterator[RGB]:
    """(height, width, 3) each. A slice that stays for several frames is drawn once."""
    plane, geometry = job.options.plane, job.labelmap.geometry
    box = whole_grid(geometry) if job.options.whole_scan else organ_box(job.labelmap, MARGIN_MM)
    first, stop = box[ACROSS[plane]]
    slices = stop - first
    seconds = job.options.seconds or float(np.clip(slices / SLICES_A_SECOND, SHORTEST_S, longest_s))
    shown = (*whole_grid(geometry)[:2], box[2])  # in plane the whole body, along it what is around the organs
    view = fit_view(geometry, plane, PANEL_PX if job.truth is None else PANEL_BESIDE_PX, shown)
    ground = _ground(job, view)
    count = max(1, round(seconds * fps))
    last, frame = -1, np.asarray(ground)
    for number in range(count):
        index = stop - 1 - int((number + 0.5) * slices / count)
        if index != last:
            last, frame = index, _slice_frame(job, view, index, ground)
        yield frame


def turntable_frames(job: Job, fps: int, longest_s: float = TURN_S) -> Iterator[RGB]:
    """One full turn, so that it loops without a jump."""
    surfaces = [(job.surfaces[row.organ], colour_of(row.organ, row.label), _is_lesion(row.organ)) for row in job.found]
    scene = rasterizer.make_scene(surfaces)
    height, width = SOLID_PX
    ground = Image.new("RGB", (width + LEGEND_PX, height), GROUND)
    legend(ground, job.rows, (width + 14, 24))
    count = max(1, round((job.options.seconds or min(TURN_S, longest_s)) * fps))
    turns = [360 * number / count for number in range(count)]
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, count, AHEAD):
            ahead = turns[start : start + AHEAD]
            pictures = pool.map(lambda turn: rasterizer.render(scene, turn, SOLID_PX), ahead)
            for turn, picture in zip(ahead, pictures, strict=True):
                frame = ground.copy()
                frame.paste(Image.fromarray(picture), (0, 0))
                _triad(frame, turn, (54, height - 58))
                yield np.asarray(frame)


def _ground(job: Job, view: View) -> Image.Image:
    """What is the same in every frame: panels' places, legend, window."""
    height, width = captioned_size(view)
    start = width * (1 if job.truth is None else 2) + 14
    tall = max(height, 42 * len(job.rows) + 90) // 2 * 2
    ground = Image.new("RGB", (start - 14 + LEGEND_PX, tall), GROUND)
    legend(ground, job.rows, (start, 24), notes=_dice(job))
    words = "no scan" if job.scan is None else window_text(job.options.slice_style)
    ImageDraw.Draw(ground).text((start, tall - 24), words, DIM, font(13))
    return ground


def _slice_frame(job: Job, view: View, index: int, ground: Image.Image) -> RGB:
    frame = ground.copy()
    sides: list[tuple[Labelmap, str]] = [(job.labelmap, "prediction")]
    if job.truth is not None:
        sides.append((job.truth, "truth"))
    (height, width), (panel_height, panel_width) = view.size_px, captioned_size(view)
    voxels = None if job.scan is None else job.scan.voxels
    for number, (labelmap, title) in enumerate(sides):
        at = (number * panel_width + (panel_width - width) // 2, (frame.height - height) // 2)
        picture = draw_slice(view, index, voxels, labelmap.labels, job.labelmap.organs, job.options.slice_style)
        frame.paste(Image.fromarray(picture), at)
        annotate(frame, view, index, at)
        if number == 0 and job.lesions:
            for name, (x, y) in lesion_places(view, index, labelmap.labels, BY_NAME[LESION].label, job.lesions):
                write(frame, (at[0] + x + 3, at[1] + y), str(name), "lm")
        if job.truth is not None:
            write(frame, ((number + 1) * panel_width - 8, (frame.height - panel_height) // 2 + 6), title, "rt")
    return np.asarray(frame)


def _dice(job: Job) -> dict[str, str]:
    """By organ, for the legend; empty without a truth."""
    if job.truth is None:
        return {}
    numbers = {organ: label for label, organ in job.truth.organs.items()}
    found = {}
    for row in job.rows:
        if row.organ in numbers:
            dice = confusion(job.truth.labels == numbers[row.organ], job.labelmap.labels == row.label).dice
            found[row.organ] = "" if dice != dice else f"Dice {dice:.3f}"
    return found


def _is_lesion(organ: str) -> bool:
    return organ in BY_NAME and BY_NAME[organ].is_lesion


def _triad(frame: Image.Image, turn_degrees: float, at: tuple[int, int]) -> None:
    """The patient's axes, small: the letters stand where right, anterior and superior are."""
    draw = ImageDraw.Draw(frame)
    matrix = rasterizer.view_matrix(turn_degrees)
    for letter, axis in sorted(zip("RAS", matrix.T, strict=True), key=lambda pair: pair[1][2]):
        end = (at[0] + 30 * axis[0], at[1] - 30 * axis[1])
        colour = INK if axis[2] > -0.2 else DIM
        draw.line([at, end], fill=colour, width=2)
        draw.text((at[0] + 40 * axis[0], at[1] - 40 * axis[1]), letter, colour, font(13), anchor="mm")


def _encode_gif(job: Job, draw: Callable[[Job, int, float], Iterator[RGB]], target: Path) -> None:
    """Writes a GIF, smaller and then slower until it has at most GIF_BYTES."""
    fps = min(job.options.fps, GIF_FPS)
    scale, rate = 1.0, float(fps)
    for _ in range(6):
        frames = draw(job, fps, GIF_LONGEST_S)
        first = next(frames)
        widest = max(GIF_PX, round(first.shape[1] * 0.65))
        options = GIF.format(fps=rate, width=round(widest * scale))
        _encode(chain((first,), frames), target, fps, "gif", "pal8", ["-filter_complex", options])
        excess = target.stat().st_size / GIF_BYTES
        if excess <= 1:
            break
        if scale * widest > GIF_LEAST_PX:
            scale = max(GIF_LEAST_PX / widest, 0.97 * scale / excess**0.5)
        else:
            rate *= 0.9 / excess


def _encode(frames: Iterator[RGB], target: Path, fps: int, codec: str, pixels: str, options: list[str]) -> None:
    """Writes the frames as a video.

    Raises OSError with ffmpeg's own words; errno is the system's where ffmpeg's exit status tells it.
    Source: FFmpeg 7 and later exit with the lowest byte of its error code, which is minus errno.
    """
    first = next(frames)
    height, width = first.shape[:2]
    command = [
        *(find_ffmpeg(), "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"),
        *("-s", f"{width}x{height}", "-r", str(fps), "-i", "-", "-an", "-c:v", codec, "-pix_fmt", pixels),
        *(*options, str(target)),
    ]
    with TemporaryFile() as errors:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors, bufsize=0) as process:
            assert process.stdin is not None
            try:
                for frame in chain((first,), frames):
                    left = memoryview(frame.tobytes())
                    while left:
                        left = left[process.stdin.write(left) :]
            except BrokenPipeError:  # ffmpeg has gone; it said why
                pass
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            errors.seek(0)
            words = errors.read().decode(errors="replace").strip() or f"ffmpeg ended with {process.returncode}"
            raise OSError(256 - process.returncode, words.splitlines()[0])
