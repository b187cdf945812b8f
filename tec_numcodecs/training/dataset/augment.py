"""Crops of scenes, changed in the ways in which other places, dates and products differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.training.data import Scene

Float32Array = NDArray[np.float32]

# Band sets that people store, by ESA's names; others are drawn at random.
_COMMON_SUBSETS = (
    ("B02", "B03", "B04", "B08"),
    ("B02", "B03", "B04"),
    ("B04", "B08"),
    ("B02", "B03", "B04", "B08", "B11", "B12"),
    ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
    ("B08",),
)


@dataclass(frozen=True)
class Crop:
    """A stack of dates of one place: float32 (T, C, S, S) whole digital numbers."""

    scene: Scene
    bands: tuple[int, ...]
    pixels: Float32Array


class Sampler:
    """Draws augmented crops.

    Parameters
    ----------
    scenes : list of Scene
    size : int
        Edge length of the crops.
    seed : int
    """

    def __init__(self, scenes: list[Scene], size: int, seed: int) -> None:
        self.scenes = scenes
        self.size, self.seed = size, seed
        self.rng = np.random.default_rng(seed)
        weights = np.array([scene.weight for scene in scenes])
        several = weights * [scene.data.shape[0] > 1 for scene in scenes]
        self._odds = {1: weights / weights.sum(), 2: several / max(float(several.sum()), 1e-9)}

    def draw(self) -> Crop:
        """Draw a crop of one date."""
        scene = self._scene(1)
        date = self.rng.integers(scene.data.shape[0])
        return self._finish(scene, _window(scene.data[[date]], self.size, self.rng))

    def draw_pair(self) -> Crop:
        """Draw a crop of two dates: of a series, or one date and an invented other one."""
        rng = self.rng
        if rng.random() < 0.35 or not self._odds[2].any():
            crop = self.draw()
            other = _another_date(crop.pixels[0], rng)
            return Crop(crop.scene, crop.bands, np.stack([other, crop.pixels[0]]))
        scene = self._scene(2)
        dates = rng.choice(scene.data.shape[0], 2, replace=False)
        return self._finish(scene, _window(scene.data[dates], self.size, rng))

    def _scene(self, dates: int) -> Scene:
        return self.scenes[self.rng.choice(len(self.scenes), p=self._odds[dates])]

    def _finish(self, scene: Scene, pixels: Float32Array) -> Crop:
        rng = self.rng
        pixels = _turn(pixels, int(rng.integers(8)))
        pixels = _radiometry(pixels, rng)
        for date in range(len(pixels)):
            if rng.random() < 0.10:
                pixels[date] = _cloud(pixels[date], rng)
        keep = _subset(scene, rng) if rng.random() < 0.25 else np.arange(len(scene.bands))
        pixels = np.rint(np.clip(pixels[:, keep], 0, 65535))
        if rng.random() < 0.08:
            pixels = _nearest(scene, keep, pixels)
        bands = tuple(scene.bands[i] for i in keep)
        return Crop(scene, bands, np.ascontiguousarray(pixels, np.float32))


def _window(data: NDArray[np.uint16], size: int, rng: np.random.Generator) -> Float32Array:
    """Cut a random square, mirrored at the edges where the scene is too small."""
    short = [max(0, size - n) for n in data.shape[2:]]
    if any(short):
        data = np.pad(data, ((0, 0), (0, 0), (0, short[0]), (0, short[1])), mode="symmetric")
    y, x = (int(rng.integers(n - size + 1)) for n in data.shape[2:])
    return data[:, :, y : y + size, x : x + size].astype(np.float32)


def _turn(pixels: Float32Array, which: int) -> Float32Array:
    """One of the eight symmetries of the square."""
    turned = np.rot90(pixels, which % 4, (2, 3))
    return turned[..., ::-1] if which >= 4 else turned


def _radiometry(pixels: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Gain of the whole crop and of each band, one offset: other light, haze, soils."""
    t, c = pixels.shape[:2]
    gain = np.exp(rng.normal(0, 0.12)) * np.exp(rng.normal(0, 0.03, (1, c, 1, 1)))
    if t > 1:
        gain = gain * np.exp(rng.normal(0, 0.03, (t, 1, 1, 1)))
    return (pixels * gain + rng.normal(0, 40)).astype(np.float32)


def _cloud(pixels: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Mix a smooth, bright, nearly gray field into one date (C, S, S)."""
    size = pixels.shape[-1]
    field = np.zeros((size, size), np.float32)
    for octave in range(2, 7):
        cells = max(2, size >> (7 - octave))
        coarse = rng.normal(0, 1, (cells + 2, cells + 2)).astype(np.float32)
        field += _enlarge(coarse, size) * 0.6**octave
    field = (field - field.mean()) / (field.std() + 1e-6)
    cover = np.clip((field - rng.normal(0.5, 0.8)) * rng.uniform(0.4, 2.0), 0, 1)
    brightness = rng.uniform(2500, 9000) * (1 + 0.12 * field)
    color = np.exp(rng.normal(0, 0.10, (pixels.shape[0], 1, 1)))
    mixed = pixels * (1 - cover) + brightness * color * cover
    return mixed.astype(np.float32)


def _enlarge(coarse: Float32Array, size: int) -> Float32Array:
    """Bilinear enlargement of a square grid to ``size``."""
    at = np.linspace(0, coarse.shape[0] - 2, size, endpoint=False)
    low = at.astype(int)
    part = (at - low).astype(np.float32)
    rows = coarse[low] * (1 - part[:, None]) + coarse[low + 1] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, low + 1] * part


def _subset(scene: Scene, rng: np.random.Generator) -> NDArray[np.intp]:
    """Positions of the bands to keep."""
    names = [scene.sensor.bands[i] for i in scene.bands]
    if rng.random() < 0.6:
        wanted = _COMMON_SUBSETS[rng.integers(len(_COMMON_SUBSETS))]
        kept = [i for i, name in enumerate(names) if name in wanted]
        if kept:
            return np.array(kept)
    count = int(rng.integers(1, len(names) + 1))
    return np.sort(rng.choice(len(names), count, replace=False))


def _nearest(scene: Scene, keep: NDArray[np.intp], pixels: Float32Array) -> Float32Array:
    """Repeat the coarse bands' pixels, as catalogs resampled by nearest neighbor do."""
    out = pixels.copy()
    for row, position in enumerate(keep):
        factor = scene.sensor.resolutions[scene.bands[position]] // 10
        if factor > 1:
            coarse = pixels[:, row, ::factor, ::factor]
            grown = coarse.repeat(factor, axis=1).repeat(factor, axis=2)
            out[:, row] = grown[:, : out.shape[2], : out.shape[3]]
    return out


def _another_date(pixels: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Invent how a crop (C, S, S) looked at another time.

    Reflectance drifts smoothly in space and differently per band, fields change as a whole,
    registration is a fraction of a pixel off, there is noise, and sometimes a cloud.
    """
    c, size, _ = pixels.shape
    coarse = rng.normal(0, 1, (2, 6, 6)).astype(np.float32)
    smooth = np.stack([_enlarge(x, size) for x in coarse])  # (2, S, S)
    strength = np.abs(rng.normal(0, 0.12, 2)) * rng.normal(0, 1, (c, 2))
    out = pixels * np.exp(np.einsum("ck,kyx->cyx", strength, smooth))
    out = out * np.exp(rng.normal(0, 0.15, (c, 1, 1)))
    # What is bright in one band grows or fades: a threshold stands for a kind of field.
    kind = out[rng.integers(c)] > np.quantile(out[rng.integers(c)], rng.uniform(0.2, 0.8))
    if rng.random() < 0.6:
        out = np.where(kind, out * np.exp(rng.normal(0, 0.2, (c, 1, 1))), out)
    for axis in (1, 2):
        shift = rng.uniform(0, 0.35)
        out = out * (1 - shift) + np.roll(out, 1 if rng.random() < 0.5 else -1, axis) * shift
    out = out + rng.normal(0, rng.uniform(0, 25), out.shape)
    if rng.random() < 0.2:
        out = _cloud(out.astype(np.float32), rng)
    return np.rint(np.clip(out, 0, 65535)).astype(np.float32)
