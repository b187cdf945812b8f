"""The codec for Zarr format 2 and for numcodecs on its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ensure_ndarray_like, ndarray_copy

from tec_numcodecs import executor
from tec_numcodecs.config import CODEC_NAME, CodecConfig
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.pixels import Samples


class TecCodec(Codec):
    """Learned compression of chunks of shape (time, band, y, x).

    Parameters
    ----------
    **settings
        As for :meth:`tec_numcodecs.config.CodecConfig.parse`: ``model``, ``lam``, ``quality``,
        ``weights``, ``nearest``, ``sensor``, ``bands``, ``units``, ``scale``, ``offset``,
        ``nodata``, ``max_error``, ``psnr``, ``bpppb``.

    Raises
    ------
    InvalidInput
        If a setting is not allowed.
    UnsupportedFormat
        If there is no such setting.

    Examples
    --------
    >>> import numpy as np
    >>> codec = TecCodec(model="fp", lam=20, bands=["B02", "B03", "B04"])
    >>> cube = np.full((1, 3, 64, 64), 1200, np.uint16)
    >>> codec.decode(codec.encode(cube)).shape
    (1, 3, 64, 64)
    """

    codec_id = CODEC_NAME

    def __init__(self, **settings: Any) -> None:
        self._config = CodecConfig.from_json(settings)

    @property
    def config(self) -> CodecConfig:
        """The complete configuration."""
        return self._config

    def encode(self, buf: Samples) -> bytes:
        """Encode one chunk.

        Parameters
        ----------
        buf : array (T, C, H, W)
            uint16, int16 or float32.

        Returns
        -------
        bytes

        Raises
        ------
        InvalidInput
            If it is not a chunk that the configuration describes, or in Fortran order: Zarr
            would put the samples of a decoded chunk into other places.
        """
        array = ensure_ndarray_like(buf)
        if array.flags.f_contiguous and not array.flags.c_contiguous:
            raise InvalidInput(
                "a chunk in Fortran order",
                allowed="C order",
                fix="create the array with order='C'",
            )
        return executor.encode(np.asarray(array), self._config).result()

    def decode(self, buf: Any, out: Any = None) -> Samples:
        """Decode one chunk.

        Parameters
        ----------
        buf : bytes-like
        out : array, optional
            Where to put the result.

        Returns
        -------
        array (T, C, H, W)

        Raises
        ------
        CorruptChunk, UnsupportedFormat, WeightsError
            See :func:`tec_numcodecs.chunk.decode`.
        """
        array = executor.decode(ensure_bytes(buf), self._config, None).result()
        if out is None:
            return array
        ndarray_copy(array, out)
        return np.asarray(out)

    def get_config(self) -> dict[str, Any]:
        """Configuration as JSON, with the codec's id."""
        return {"id": self.codec_id, **self._config.to_json()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TecCodec:
        """Rebuild a codec from :meth:`get_config`, with or without the id."""
        return cls(**{key: value for key, value in config.items() if key != "id"})

    def __repr__(self) -> str:
        return f"TecCodec({_arguments(self._config)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_config, (self.get_config(),)


def _arguments(config: CodecConfig) -> str:
    """Settings as they would be typed, for representations."""
    bound = "" if config.max_error is None else f"max_error={config.max_error!r}"
    rate = bound if config.lam is None else f"lam={config.lam:g}"
    if config.target is not None:
        rate = f"{config.target.kind}={config.target.value:g}"
    quality = f", quality={config.quality}" if config.quality else ""
    rates = f", {rate}" if rate else ""
    return f"model={config.model!r}{rates}{quality}, weights={config.weights.id!r}"
