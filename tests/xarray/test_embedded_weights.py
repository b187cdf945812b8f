"""Copies of weights in an archive that somebody made to harm: refused before memory is taken."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from tec_numcodecs.errors import TecError, WeightsError
from tec_numcodecs.weights import local_store
from tec_xarray.store import embedded_weights
from tec_xarray.store.location import StoreLocation

DIGEST = "ab" * 32


def archive(path: Path, **array: Any) -> StoreLocation:
    """Make a group with a copy of weights that is not what it should be."""
    group = zarr.open_group(path, mode="w").create_group(embedded_weights.EMBEDDED)
    settings = {"shape": (64,), "chunks": (64,), "dtype": "uint8", "fill_value": 0, **array}
    group.create_array(DIGEST, **settings)
    return StoreLocation.of(path, None, None)


def codec(family: str = "mini") -> dict[str, Any]:
    return {
        "model": "fp", "lam": 20.0 if family == "mini" else None, "sensor": "sentinel-2-l2a",
        "bands": ["B02"], "weights": {"id": f"{family}-x", "sha256": DIGEST},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("family", "array"),
    [
        ("mini", {"shape": (1 << 34,), "chunks": (1 << 20,)}),
        ("mini", {"shape": (1 << 27,), "chunks": (1 << 20,)}),
        ("terracodec", {"shape": (1 << 60,), "chunks": (1 << 20,)}),
        ("terracodec", {"shape": (1 << 29,), "chunks": (1 << 29,)}),
        ("mini", {"shape": (1 << 26,), "chunks": (1,)}),
        ("mini", {"shape": (64, 1 << 40), "chunks": (64, 1)}),
        ("mini", {"dtype": "float64", "fill_value": 0.0}),
        ("mini", {}),
    ],
    ids=["16 GiB", "128 MiB", "2^60", "one chunk", "a chunk a byte", "axes", "dtype", "digest"],
)
def test_what_no_file_of_ours_is(
    family: str, array: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(tmp_path / "cache"))
    place = archive(tmp_path / "a.zarr", **array)
    tracemalloc.start()
    with pytest.raises(WeightsError, match="embedded weights"):
        embedded_weights.ensure(place, codec(family))
    with pytest.raises(WeightsError, match="embedded weights"):
        embedded_weights.extract(place.store, tmp_path / "out")
    ((where, _),) = embedded_weights.damaged(place)
    assert where.endswith(DIGEST)
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()
    assert not list(tmp_path.glob("cache/*"))
    assert not list(tmp_path.glob("out/*"))


def test_a_bundled_digest_has_the_size_of_its_file(tmp_path: Path) -> None:
    known = local_store.resolve("mini", "fp")
    assert embedded_weights._limit(known) == local_store.locate(known).stat().st_size


def test_a_chunk_that_cannot_be_read(tmp_path: Path) -> None:
    place = archive(tmp_path / "a.zarr")
    array = zarr.open_group(tmp_path / "a.zarr")[f"{embedded_weights.EMBEDDED}/{DIGEST}"]
    array[:] = np.arange(64, dtype=np.uint8)  # type: ignore[index]
    (chunk,) = (path for path in tmp_path.rglob("c/0") if path.is_file())
    chunk.write_bytes(b"no zstd frame")
    with pytest.raises(WeightsError, match="cannot be read"):
        embedded_weights.ensure(place, codec())


def test_metadata_of_a_copy_that_are_none(tmp_path: Path) -> None:
    place = archive(tmp_path / "a.zarr")
    (path,) = tmp_path.rglob(f"{DIGEST}/zarr.json")
    path.write_text('{"zarr_format": 3, "node_type": "array", "shape": "much"}')
    embedded_weights.ensure(place, codec())  # as if there were none: whoever decodes says so
    with pytest.raises(TecError):
        embedded_weights.extract(place.store, tmp_path / "out")
