"""Digital numbers to what the published networks were trained on, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.base import Cube, Geometry
from tec_numcodecs.sensors import Sensor, get_sensor

LATENT_LIMIT = 1 << 24  # beyond any latent of a working network, and exact in float32

_SENSOR_OF = {12: "sentinel-2-l2a", 13: "sentinel-2-l1c"}  # by input channels


@dataclass(frozen=True)
class Standardizer:
    """Standardizes cubes per band and completes missing bands.

    A band that a chunk lacks is shown to the network as its neighbor in wavelength,
    standardized: close to the truth, cheap to code, and thrown away again.
    """

    sensor: Sensor

    @classmethod
    def for_channels(cls, channels: int) -> Standardizer:
        """Return the standardizer of a network with that many input bands."""
        if channels not in _SENSOR_OF:
            raise InvalidInput(
                f"a network with {channels} input bands",
                allowed="12 (Sentinel-2 L2A) or 13 (Sentinel-2 L1C)",
            )
        return cls(get_sensor(_SENSOR_OF[channels]))

    def forward(self, cube: Cube, geometry: Geometry) -> Tensor:
        """Return float32 [T, all bands, H, W] of int32 [T, C, H, W].

        Raises
        ------
        InvalidInput
            The cube is of another sensor, or not of the shape of its geometry.
        """
        self.check(geometry)
        if cube.shape != geometry.shape:
            raise InvalidInput(f"a cube of shape {cube.shape}", allowed=f"{geometry.shape}")
        mean, std = self._statistics(geometry)
        normal = cube.astype(np.float32)  # in place from here on: memory costs more than rounding
        normal -= mean.astype(np.float32)
        normal /= std.astype(np.float32)
        complete = len(geometry.bands) == len(self.sensor.bands)
        return torch.from_numpy(normal if complete else normal[:, self._donors(geometry)])

    def inverse(self, normal: Tensor, geometry: Geometry) -> NDArray[np.float64]:
        """Return float64 [T, C, H, W] in digital numbers of float32 [T, all bands, >=H, >=W]."""
        height, width = geometry.shape[2:]
        mean, std = self._statistics(geometry)
        values: NDArray[np.float64] = np.empty(geometry.shape)
        for plane, band in enumerate(geometry.bands):
            values[:, plane] = normal[:, band, :height, :width].numpy()
        values *= std
        values += mean
        return values

    def inverse_exact(self, normal: Tensor, geometry: Geometry) -> NDArray[np.int32]:
        """Return int32 [T, C, H, W] of float64 [T, all bands, >=H, >=W], the same everywhere.

        One product, one sum and one rounding, half to even; within +-2**30.
        """
        height, width = geometry.shape[2:]
        mean, std = self._statistics(geometry)
        values = normal[:, list(geometry.bands), :height, :width].numpy() * std
        values = np.rint(values + mean)
        return np.clip(values, -(2.0**30), 2.0**30).astype(np.int32)

    def check(self, geometry: Geometry) -> None:
        """Refuse chunks of another sensor."""
        if geometry.sensor.name != self.sensor.name:
            raise InvalidInput(
                f"data of {geometry.sensor.name} ({len(geometry.sensor.bands)} bands)",
                allowed=f"{self.sensor.name} ({len(self.sensor.bands)} bands) for these weights",
                fix="choose weights that were trained for this sensor",
            )

    def _statistics(self, geometry: Geometry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        bands = list(geometry.bands)
        mean = np.asarray(self.sensor.mean)[bands]
        std = np.asarray(self.sensor.std)[bands]
        return mean[:, None, None], std[:, None, None]

    def _donors(self, geometry: Geometry) -> list[int]:
        """Return, for each band of the sensor, the position in the cube that stands in for it."""
        waves = self.sensor.wavelengths
        return [
            min(range(len(geometry.bands)), key=lambda i: abs(waves[geometry.bands[i]] - wave))
            for wave in waves
        ]


def to_symbols(values: Tensor) -> Tensor:
    """Round latents to whole numbers within +-2**24; what is not finite becomes 0."""
    values = torch.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return torch.clamp(torch.round(values), -LATENT_LIMIT, LATENT_LIMIT)
