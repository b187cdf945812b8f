"""What `verify` says of each variable: ok, damaged, gone, or that it could not look; no raising."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr.storage
from typer.testing import CliRunner
from zarr.storage import MemoryStore

import tec_xarray
from archives import SETTINGS, series
from tec_numcodecs.errors import InvalidInput
from tec_xarray.cli.commands import app

CUBE = "reflectance"


@pytest.fixture(scope="module")
def finished() -> MemoryStore:
    store = MemoryStore()
    data = series(5)
    data["SCL"][:] = 0  # equal to the fill value: there are objects all the same
    data.tec.compress(**SETTINGS, store=store, appendable=True)
    tec_xarray.append(data.isel(time=[0]).assign_coords(time=data.time[:1] + 10**16), store)
    return store


@pytest.fixture
def archive(finished: MemoryStore) -> MemoryStore:
    return MemoryStore(dict(finished._store_dict))


def put(store: MemoryStore, key: str, data: bytes) -> None:
    store._store_dict[key] = zarr.buffer.cpu.Buffer.from_bytes(data)


def bend(store: MemoryStore, key: str) -> None:
    data = bytearray(store._store_dict[key].to_bytes())
    data[len(data) // 2] ^= 4
    put(store, key, bytes(data))


def lose(store: MemoryStore, key: str) -> None:
    del store._store_dict[key]


def test_all_is_well(archive: MemoryStore) -> None:
    found = tec_xarray.verify(archive)
    assert found.ok
    assert set(found.variables.values()) == {"ok"}
    assert {CUBE, "SCL", "time", "x", "y", "band", "platform"} <= set(found.variables)


@pytest.mark.parametrize(
    ("harm", "key", "name", "state"),
    [
        (bend, f"{CUBE}/c/0/0/0/0", CUBE, "damaged"),
        (lose, f"{CUBE}/c/0/0/0/0", CUBE, "gone"),
        (bend, "SCL/c/0/0/0", "SCL", "damaged"),
        (lose, "SCL/c/1/0/0", "SCL", "gone"),
        (lose, "time/c/0", "time", "gone"),
        (lose, "boa_offset/c/0", "boa_offset", "gone"),
        (lose, "SCL/zarr.json", "SCL", "gone"),
        (lambda s, k: put(s, k, b"{"), "SCL/zarr.json", "SCL", "damaged"),
        (lambda s, k: put(s, k, b"[]"), "x/zarr.json", "x", "damaged"),
        (bend, "tec_journal/digest/c/0/0/0/0", "tec_journal", "damaged"),
        (bend, "tec_journal/state/c/0/0/0/0", "tec_journal", "damaged"),
        (lambda s, k: put(s, k, b"{"), "tec_journal/zarr.json", "tec_journal", "damaged"),
        (lambda s, k: put(s, k, b"{}"), "tec_journal/state/zarr.json", "tec_journal", "damaged"),
        (lose, "tec_journal/errors/zarr.json", "tec_journal", "damaged"),
    ],
)
def test_harm_has_a_name_and_all_else_is_looked_at(
    harm: Callable[[MemoryStore, str], None], key: str, name: str, state: str, archive: MemoryStore
) -> None:
    harm(archive, key)
    found = tec_xarray.verify(archive)
    assert not found.ok
    assert {n: s for n, s in found.variables.items() if s != "ok"} == {name: state}
    assert found.bytes > 0
    json.dumps(found.to_dict(), allow_nan=False)
    assert "NOT as it was written" in str(found)


@pytest.mark.parametrize("key", [f"{CUBE}/zarr.json", "zarr.json"])
@pytest.mark.parametrize("data", [b"{", b"\xff\xfe", b"[1]", b""])
def test_metadata_without_which_nothing_can_be_read(
    key: str, data: bytes, archive: MemoryStore
) -> None:
    put(archive, key, data)
    found = tec_xarray.verify(archive)
    assert not found.ok
    assert "damaged" in found.variables.values()


def test_an_original_beside_damage_that_keeps_it_from_being_compared(archive: MemoryStore) -> None:
    bend(archive, "time/c/0")
    found = tec_xarray.verify(archive, series(6))
    assert found.variables["time"] == "damaged"
    assert not found.compared
    with pytest.raises(InvalidInput, match="no Zarr group"):
        tec_xarray.verify(MemoryStore())
    plain = MemoryStore()
    xr.Dataset({"a": ("x", np.arange(3))}).to_zarr(plain)
    with pytest.raises(InvalidInput, match="0 compressed cubes"):
        tec_xarray.verify(plain)


def test_a_template_is_no_archive() -> None:
    store = MemoryStore()
    series(4).chunk(time=4).tec.compress(**SETTINGS).to_zarr(store, compute=False)
    found = tec_xarray.verify(store)
    assert not found.ok
    assert found.variables[CUBE] == "gone"
    assert "a template that was never filled" in str(found)


def test_blocks_of_no_data_without_a_journal_are_pointed_out() -> None:
    store, data = MemoryStore(), series(4)
    for band in ("B02", "B04", "B8A"):
        data[band][:, :32, :64] = 0
    data.tec.compress(**SETTINGS).to_zarr(store)
    found = tec_xarray.verify(store)
    assert (found.ok, found.absent) == (True, 1)
    assert "1 blocks without an object" in str(found)


class Locked(zarr.storage.WrapperStore):  # type: ignore[type-arg]
    """A store that does not give out some of its objects."""

    closed = ""

    async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        if self.closed and key.startswith(self.closed):
            raise PermissionError(f"403 for {key}")
        return await super().get(key, *args, **kwargs)


@pytest.mark.parametrize(
    ("closed", "name"),
    [
        (f"{CUBE}/c/1", CUBE),
        ("SCL/c", "SCL"),
        ("tec_journal", "tec_journal"),
        ("zarr.json", "store"),
    ],
)
def test_what_the_store_does_not_give_out_could_not_be_looked_at(
    closed: str, name: str, archive: MemoryStore
) -> None:
    found = tec_xarray.verify(type("Shut", (Locked,), {"closed": closed})(archive))
    assert not found.ok
    assert {n: s for n, s in found.variables.items() if s != "ok"} == {name: "could not look"}
    assert str(found).endswith("could NOT look at everything")


def test_the_command_fails_where_it_could_not_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.zarr"
    series(2).tec.compress(**SETTINGS, store=path)
    get = zarr.storage.LocalStore.get

    async def locked(self: Any, key: str, *args: Any, **kwargs: Any) -> Any:
        if key.startswith("SCL/c"):
            raise PermissionError(f"403 for {key}")
        return await get(self, key, *args, **kwargs)

    monkeypatch.setattr(zarr.storage.LocalStore, "get", locked)
    done = CliRunner().invoke(app, ["verify", str(path), "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["variables"]["SCL"] == "could not look"
