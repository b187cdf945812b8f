"""Other codecs for one image (C, H, W) of 16-bit digital numbers, as careful engineers use them.

Each really encodes to bytes and decodes from nothing but these and the shape of the image, which
none of them is charged for. Everything else is charged: stream headers, lengths, means, scales,
transform matrices.
"""

from __future__ import annotations

from benchmarks.rivals import blosc, hevc, jpeg2000, jpegxl, sz3
from benchmarks.rivals.base import Rival

#: The codec to which others are compared.
ANCHOR = "j2k-band"

RIVALS: dict[str, Rival] = {
    rival.name: rival
    for rival in (
        jpeg2000.BAND,
        jpeg2000.WAVELET_KLT,
        hevc.WAVELET_KLT,
        hevc.BANDS,
        jpegxl.BAND,
        sz3.BAND,
        blosc.QUANTIZED,
    )
}
LOSSLESS: dict[str, Rival] = {
    rival.name: rival for rival in (jpeg2000.LOSSLESS, jpegxl.LOSSLESS, blosc.LOSSLESS)
}

__all__ = ["ANCHOR", "LOSSLESS", "RIVALS", "Rival"]
