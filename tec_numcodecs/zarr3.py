"""The codec for Zarr format 3: a serializer, from arrays to bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from zarr.abc.codec import ArrayBytesCodec

from tec_numcodecs.arguments import check_keys, shown
from tec_numcodecs.chunk import batching, seal
from tec_numcodecs.chunk.container import dtype_code
from tec_numcodecs.chunk.decoding import check_shape
from tec_numcodecs.config import CODEC_NAME, SIGNATURE, CodecConfig
from tec_numcodecs.errors import CorruptChunk, InvalidInput

if TYPE_CHECKING:
    from zarr.abc.buffer import Buffer, NDBuffer
    from zarr.core.array_spec import ArraySpec


@dataclass(frozen=True, init=False)
class TecSerializer(ArrayBytesCodec):
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

    Notes
    -----
    Pass it as ``serializer=`` and ``compressors=None``: what it writes does not compress further.
    One that Zarr rebuilds from an array's metadata decodes, and refuses to encode with loss: see
    `tec_numcodecs.chunk.seal`.
    """

    config: CodecConfig
    sealed: bool = field(default=False, compare=False, repr=False)

    is_fixed_size = False
    __signature__ = SIGNATURE

    def __init__(self, /, **settings: Any) -> None:
        object.__setattr__(self, "config", CodecConfig.from_settings(settings))
        object.__setattr__(self, "sealed", False)

    @classmethod
    def of(cls, config: CodecConfig, *, sealed: bool = False) -> Self:
        """Build a codec of a configuration that is checked already.

        Parameters
        ----------
        config : CodecConfig
        sealed : bool
            Whether it came out of metadata: then it encodes only what it does not change.
        """
        codec = cls.__new__(cls)
        object.__setattr__(codec, "config", config)
        object.__setattr__(codec, "sealed", sealed)
        return codec

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Rebuild a codec from its metadata.

        Raises
        ------
        InvalidInput
            For a value that FORMAT.md does not allow.
        UnsupportedFormat
            For a key that it does not have.
        """
        if not isinstance(data, Mapping):
            raise InvalidInput(f"codec {shown(data)}", allowed="a JSON object")
        check_keys(data, ("name", "configuration", "must_understand"), "key of a codec")
        if data.get("name") != CODEC_NAME:
            raise InvalidInput(f"codec name {shown(data.get('name'))}", allowed=repr(CODEC_NAME))
        configuration = data.get("configuration", {})
        config = CodecConfig.from_json(configuration)
        return cls.of(config, sealed=seal.is_sealed(configuration))

    def to_dict(self) -> dict[str, Any]:
        """Return the metadata: name and complete configuration."""
        settings = seal.marked(self.config.to_json(), sealed=self.sealed)
        return {"name": CODEC_NAME, "configuration": settings}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_dict, (self.to_dict(),)

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Refuse arrays that cannot be stored, when they are created.

        Raises
        ------
        InvalidInput
            If dtype, rank or the chunks' bands do not fit the configuration.
        """
        native = dtype.to_native_dtype() if hasattr(dtype, "to_native_dtype") else np.dtype(dtype)
        dtype_code(native)
        chunks = getattr(chunk_grid, "chunk_shape", None)
        check_shape(tuple(chunks) if chunks is not None else tuple(shape), self.config)

    def evolve_from_array_spec(self, array_spec: ArraySpec) -> Self:  # noqa: ARG002
        """Nothing depends on the array."""
        return self

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Sizes depend on the data."""
        raise NotImplementedError

    # -- one chunk, on the caller's thread ----------------------------------------------------

    def _encode_sync(self, chunk: NDBuffer, spec: ArraySpec) -> Buffer | None:
        return _to_buffer(self._submit_encode(chunk).result(), spec)

    def _decode_sync(self, chunk: Buffer, spec: ArraySpec) -> NDBuffer:
        return _to_nd_buffer(self._submit_decode(chunk, spec).result(), spec)

    # -- one chunk, many chunks, on an event loop ---------------------------------------------

    async def _encode_single(self, chunk: NDBuffer, spec: ArraySpec) -> Buffer | None:
        return _to_buffer(await asyncio.wrap_future(self._submit_encode(chunk)), spec)

    async def _decode_single(self, chunk: Buffer, spec: ArraySpec) -> NDBuffer:
        return _to_nd_buffer(await asyncio.wrap_future(self._submit_decode(chunk, spec)), spec)

    async def encode(
        self, chunks_and_specs: Iterable[tuple[NDBuffer | None, ArraySpec]]
    ) -> Iterable[Buffer | None]:
        """Encode chunks, all of them queued at once so that they share batches."""
        return await asyncio.gather(
            *(
                self._encode_single(chunk, spec) if chunk is not None else _nothing()
                for chunk, spec in chunks_and_specs
            )
        )

    async def decode(
        self, chunks_and_specs: Iterable[tuple[Buffer | None, ArraySpec]]
    ) -> Iterable[NDBuffer | None]:
        """Decode chunks, all of them queued at once so that they share batches."""
        return await asyncio.gather(
            *(
                self._decode_single(chunk, spec) if chunk is not None else _nothing()
                for chunk, spec in chunks_and_specs
            )
        )

    def _submit_encode(self, chunk: NDBuffer) -> Any:
        seal.check(self.config, sealed=self.sealed)
        return batching.encode(chunk.as_numpy_array(), self.config)

    def _submit_decode(self, chunk: Buffer, spec: ArraySpec) -> Any:
        t, c, h, w = spec.shape
        return batching.decode(chunk.to_bytes(), self.config, (t, c, h, w))


async def _nothing() -> None:
    return None


def _to_buffer(data: bytes, spec: ArraySpec) -> Buffer:
    return spec.prototype.buffer.from_bytes(data)


def _to_nd_buffer(array: Any, spec: ArraySpec) -> NDBuffer:
    native = spec.dtype.to_native_dtype()
    if array.dtype.newbyteorder("=") != native.newbyteorder("="):
        raise CorruptChunk(
            f"a chunk of {array.dtype}",
            allowed=f"{native}, the data type of the array",
            fix="the chunk belongs to another array",
        )
    return spec.prototype.nd_buffer.from_numpy_array(array.astype(native, copy=False))
