"""JPEG codestreams that no library of the project can write: lossless, baseline, and one of HTJ2K."""

from __future__ import annotations

import base64
import io

import numpy as np


def jpeg_baseline(frame: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=95)
    return stream.getvalue()


# RAMP below as a lossless HTJ2K codestream, made once with OpenJPH: no encoder comes with the project's libraries.
HTJ2K_RAMP = (
    "|4;u>04YEK0000e0000a00000000000000e0000a0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?kdTm&kdTm&kdTmwh="
    "~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000r2ql{lfVEg05AA-`?UKJ`vQTq0KfndzyJ||0TTcK;{d<_5<mbEfDCeU02C7dzyK960"
    "0e+qRqNUPe#>?M;JTCmzyKAn00p8XNs|2U@gt|Fr$TuElu}A5rIh~vGdJ>Y-^sqZ0Kfn(C;$bt00000@ce(N>FMd|>FMd>eE<jm000000O0?7"
    "U`g-UC%<H#{gQk3N$j!#|Je"
)
RAMP = 1000 + 3 * np.arange(40)[:, None] + 5 * np.arange(36)  # (I, J) stored numbers


def htj2k(frame: np.ndarray) -> bytes:
    assert np.array_equal(frame, RAMP.T), "HTJ2K is there for RAMP alone"
    return base64.b85decode(HTJ2K_RAMP)


def jpeg_lossless(frame: np.ndarray) -> bytes:
    """JPEG process 14, selection value 1, 16 bits, every difference category coded in 5 bits.

    Source: ITU-T T.81, annex H (lossless mode) and C (Huffman tables).
    """
    rows, columns = frame.shape
    values = frame.astype(np.int64)
    before = np.empty_like(values)
    before[:, 1:] = values[:, :-1]
    before[1:, 0] = values[:-1, 0]
    before[0, 0] = 2**15
    bits = []
    for difference in ((values - before + 2**15) % 2**16 - 2**15).ravel():
        d = int(difference)
        category = abs(d).bit_length()
        bits.append(f"{category:05b}")
        if 0 < category < 16:
            bits.append(f"{d if d > 0 else d + 2**category - 1:0{category}b}")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    scan = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")
    frame_header = b"\xff\xc3\x00\x0b\x10" + rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + b"\x01\x01\x11\x00"
    lengths = bytes([0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    table = b"\xff\xc4" + (2 + 1 + 16 + 17).to_bytes(2, "big") + b"\x00" + lengths + bytes(range(17))
    return b"\xff\xd8" + frame_header + table + b"\xff\xda\x00\x08\x01\x01\x00\x01\x00\x00" + scan + b"\xff\xd9"
