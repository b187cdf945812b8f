"""What the speed benchmark runs: codecs of one cube (T, C, H, W), by name.

- ``fp lam=20``, ``fp lossless``: our models, the four dates as one chunk;
- ``j2k-band 40 dB``, ``j2k-lossless``, ``blosc-zstd``: other codecs, date by date;
- ``terracodec fp``: the published package, the four dates as one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numcodecs
import numpy as np
from numpy.typing import NDArray

from benchmarks.scenes import Pixels, load

#: One encoding by this is the unit of time.
UNIT = "j2k-band 40 dB"
LAMS = ("lam=1", "lam=20", "lam=700", "lossless")
OTHERS = (UNIT, "j2k-band 34 dB", "j2k-band 48 dB", "j2k-lossless", "blosc-zstd", "blosc-zstd-9")
TERRACODEC = "terracodec fp"


@dataclass(frozen=True)
class Contestant:
    """A codec at one setting; `data` is what its encoder gives and its decoder takes."""

    name: str
    note: str
    encode: Callable[[Pixels], Any]
    decode: Callable[[Any], NDArray[Any]]
    size: Callable[[Any], int]


def cube() -> Pixels:
    """Return the pixels to code, uint16 (4, 12, 256, 256): the scene in the package."""
    (scene,) = load("test")
    return scene.data


def names(models: Sequence[str], *, terracodec: bool) -> list[str]:
    """Name all contestants, the unit first."""
    own = [f"{model} {setting}" for model in models for setting in LAMS]
    return [*OTHERS, *own, *([TERRACODEC] if terracodec else [])]


def make(name: str) -> Contestant:
    """Set up a contestant."""
    if name == TERRACODEC:
        return _terracodec()
    if name == "blosc-zstd":
        return _blosc()
    codec, _, setting = name.partition(" ")
    if codec in ("j2k-band", "j2k-lossless", "blosc-zstd-9"):
        return _rival(codec, setting)
    return _ours(codec, setting)


def import_libraries(name: str) -> None:
    """Import what a contestant needs, so that its memory is not mistaken for the codec's."""
    if name == TERRACODEC:
        import benchmarks.terracodec_speed  # noqa: F401
    else:
        import imagecodecs  # noqa: F401

        from tec_numcodecs import chunk  # noqa: F401


def _ours(model: str, setting: str) -> Contestant:
    from tec_numcodecs import chunk
    from tec_numcodecs.config import CodecConfig

    if setting == "lossless":
        config = CodecConfig.parse(model, max_error=0)
    else:
        config = CodecConfig.parse(model, float(setting.removeprefix("lam=")))
    return Contestant(
        f"**{model}**",
        setting,
        lambda pixels: chunk.encode([pixels], config),
        lambda data: np.asarray(chunk.decode(data)[0]),
        lambda data: len(data[0]),
    )


def _rival(codec: str, setting: str) -> Contestant:
    from benchmarks.rivals import LOSSLESS, RIVALS

    rival = (RIVALS | LOSSLESS)[codec.removesuffix("-9")]
    number = float(setting.removesuffix(" dB") or 0)

    def decode(streams: list[bytes]) -> NDArray[Any]:
        return np.stack([rival.decode(data, (12, 256, 256)) for data in streams])

    return Contestant(
        codec,
        setting or "lossless",
        lambda pixels: [rival.encode(image, number) for image in pixels],
        decode,
        lambda streams: sum(map(len, streams)),
    )


def _blosc() -> Contestant:
    """Blosc as Zarr users have it by default but for the bit shuffle; the whole cube at once."""
    settings = {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 2}
    codec: Any = numcodecs.get_codec(settings)  # type: ignore[no-untyped-call]
    return Contestant(
        "blosc-zstd-5",
        "lossless",
        codec.encode,
        lambda data: np.frombuffer(codec.decode(data), np.uint16).reshape(4, 12, 256, 256),
        len,
    )


def _terracodec() -> Contestant:
    """Set up the published architecture with random weights: bits mean nothing, time does.

    Its input is standardized here and its output brought back to uint16, as ours is. Weights are
    scaled so that latents are about as large as trained ones, see `benchmarks.terracodec_speed`.
    """
    import torch

    from benchmarks.terracodec_speed import prepared, upstream
    from tec_numcodecs.sensors import get_sensor

    torch.set_num_threads(1)
    model: Any = upstream("fp")
    prepared("fp", model)
    sensor = get_sensor("sentinel-2-l2a")
    mean = np.asarray(sensor.mean, np.float32)[:, None, None]
    std = np.asarray(sensor.std, np.float32)[:, None, None]

    def encode(pixels: Pixels) -> Any:
        with torch.inference_mode():
            return model.compress(torch.from_numpy((pixels - mean) / std))

    def decode(payload: Any) -> NDArray[Any]:
        with torch.inference_mode():
            found = model.decompress(payload["strings"], payload["shape"])
        image = found["x_hat"] if isinstance(found, dict) else found
        return np.clip(np.rint(image.numpy() * std + mean), 0, 65535).astype(np.uint16)

    return Contestant(
        "terracodec fp",
        "random weights",
        encode,
        decode,
        lambda payload: sum(len(data) for streams in payload["strings"] for data in streams),
    )
