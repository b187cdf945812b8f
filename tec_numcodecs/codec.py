"""The codec for Zarr format 2 and for numcodecs on its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ensure_ndarray_like

from tec_numcodecs.arguments import shown
from tec_numcodecs.chunk import batching, seal
from tec_numcodecs.chunk.samples import Samples
from tec_numcodecs.config import CODEC_NAME, SIGNATURE, CodecConfig
from tec_numcodecs.errors import CorruptChunk, InvalidInput


class TecCodec(Codec):
    """Learned compression of chunks of shape (time, band, y, x).

    Parameters
    ----------
    **settings
        As for `tec_numcodecs.config.CodecConfig.parse`: ``model``, ``lam``, ``quality``,
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
    __signature__ = SIGNATURE

    def __init__(self, /, **settings: Any) -> None:
        self._config, self._sealed = CodecConfig.from_settings(settings), False

    @classmethod
    def of(cls, config: CodecConfig, *, sealed: bool = False) -> TecCodec:
        """Build a codec of a configuration that is checked already.

        Parameters
        ----------
        config : CodecConfig
        sealed : bool
            Whether it came out of metadata: then it encodes only what it does not change.
        """
        codec = cls.__new__(cls)
        vars(codec).update(_config=config, _sealed=sealed)
        return codec

    @property
    def sealed(self) -> bool:
        """Whether it came out of metadata; see `tec_numcodecs.chunk.seal`."""
        return self._sealed

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
            would put the samples of a decoded chunk into other places. If the codec came out of
            an array's metadata and loses detail: see `tec_numcodecs.chunk.seal`.
        """
        seal.check(self._config, sealed=self._sealed)
        array = ensure_ndarray_like(buf)
        if array.flags.f_contiguous and not array.flags.c_contiguous:
            raise InvalidInput(
                "a chunk in Fortran order",
                allowed="C order",
                fix="create the array with order='C'",
            )
        return batching.encode(np.asarray(array), self._config).result()

    def decode(self, buf: Any, out: Any = None) -> Samples:
        """Decode one chunk.

        Parameters
        ----------
        buf : bytes-like
        out : array or writable buffer, optional
            Where to put the result: samples of the same data type in either byte order, in the
            shape of the chunk or as one flat row; or bytes, as many as the samples take.

        Returns
        -------
        array (T, C, H, W)
            `out`, as an array, if it was given.

        Raises
        ------
        CorruptChunk, UnsupportedFormat, WeightsError
            See `tec_numcodecs.chunk.decode`; also if `out` says that the array has another
            data type or shape than the chunk.

        Notes
        -----
        Zarr format 2 passes no `out`, and tells a codec neither data type nor chunk shape. A chunk
        of another array with the same bands, scaling and weights but another shape or data type
        is refused by Zarr itself where the bytes are more or fewer (ValueError), and not at all
        where they are as many: only the digests in an archive's journal tell
        (`tec_xarray.verify`). Format 3 has no such gap.
        """
        array = batching.decode(ensure_bytes(buf), self._config, None).result()
        return array if out is None else _put(array, ensure_ndarray_like(out))

    def get_config(self) -> dict[str, Any]:
        """Configuration as JSON, with the codec's id."""
        settings = seal.marked(self._config.to_json(), sealed=self._sealed)
        return {"id": self.codec_id, **settings}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TecCodec:
        """Rebuild a codec from `get_config`, with or without the id.

        Raises
        ------
        InvalidInput
            For a value that FORMAT.md does not allow.
        UnsupportedFormat
            For a key that it does not have.
        """
        settings = dict(config)
        name = settings.pop("id", cls.codec_id)
        if name != cls.codec_id:
            raise InvalidInput(f"codec id {shown(name)}", allowed=repr(cls.codec_id))
        return cls.of(CodecConfig.from_json(settings), sealed=seal.is_sealed(settings))

    def __repr__(self) -> str:
        return f"TecCodec({_arguments(self._config)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_config, (self.get_config(),)


def _put(array: Samples, out: Any) -> Samples:
    """Copy a chunk into what the caller says is the place of it."""
    found, wanted = array, np.asarray(out)
    bytes_only = wanted.dtype.kind in "SV" or wanted.dtype.itemsize == 1
    if bytes_only and wanted.flags.c_contiguous:
        found, wanted = (a.reshape(-1).view(np.uint8) for a in (found, wanted))
    same = found.dtype.newbyteorder("=") == wanted.dtype.newbyteorder("=")
    if not same or wanted.shape not in (found.shape, (found.size,)):
        raise CorruptChunk(
            f"a chunk of {array.dtype} and shape {array.shape}",
            allowed=f"what fits into {out.dtype} and shape {out.shape}",
            fix="the chunk belongs to another array, or out= is not what it was made for",
        )
    wanted[...] = found.reshape(wanted.shape)
    return np.asarray(out)


def _arguments(config: CodecConfig) -> str:
    """Settings as they would be typed, for representations."""
    bound = "" if config.max_error is None else f"max_error={config.max_error!r}"
    rate = bound if config.lam is None else f"lam={config.lam:g}"
    if config.target is not None:
        rate = f"{config.target.kind}={config.target.value:g}"
    quality = f", quality={config.quality}" if config.quality else ""
    rates = f", {rate}" if rate else ""
    return f"model={config.model!r}{rates}{quality}, weights={config.weights.id!r}"
