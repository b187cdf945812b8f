"""One writer at a time, whatever the store: the second waits or is refused, and nothing is lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import obstore.store
import pytest
import zarr.storage
from zarr.storage import MemoryStore

import tec_xarray
from archives import SETTINGS, series
from s3server import BUCKET, s3_options
from tec_numcodecs import set_options
from tec_numcodecs.errors import InvalidInput, TecError
from tec_xarray.store import lease
from tec_xarray.store.lease import KEY, Busy, Patience, writing
from tec_xarray.store.lease_note import Note, new_note
from tec_xarray.store.location import StoreLocation

SMALL = {"lam": 100, "chunks": (2, 3, 32, 32), "shards": False}


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    with s3_options() as options:
        yield options


@pytest.fixture(params=["local", "memory", "dict", "fsspec", "s3fs", "obstore"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> StoreLocation:
    name = f"{tmp_path.name}.zarr"
    if request.param in ("s3fs", "obstore"):
        s3 = request.getfixturevalue("s3")
    if request.param == "s3fs":
        return StoreLocation.of(f"s3://{BUCKET}/{name}", None, s3)
    if request.param == "obstore":
        bucket = obstore.store.S3Store(
            BUCKET, prefix=f"o-{name}", endpoint=s3["endpoint_url"], access_key_id=s3["key"],
            secret_access_key=s3["secret"], region="us-east-1",
            client_options={"allow_http": True},
        )  # fmt: skip
        return StoreLocation.of(zarr.storage.ObjectStore(bucket), None, None)
    stores: dict[str, Any] = {
        "local": tmp_path / name,
        "memory": MemoryStore(),
        "dict": {},
        "fsspec": f"memory://{name}",
    }
    return StoreLocation.of(stores[request.param], None, None)


def note_of(place: StoreLocation) -> dict[str, Any]:
    found = zarr.core.sync.sync((place.store_path() / KEY).get())
    return json.loads(found.to_bytes())


def put(place: StoreLocation, **changes: Any) -> None:
    """Leave a lease behind, as a writer does that is killed."""
    note = json.loads(new_note("append").to_bytes()) | changes
    buffer = zarr.buffer.default_buffer_prototype().buffer.from_bytes(json.dumps(note).encode())
    zarr.core.sync.sync((place.store_path() / KEY).set(buffer))


def test_of_many_that_start_together_one_at_a_time_has_it(place: StoreLocation) -> None:
    """A barrier before, and a count of who is inside."""
    barrier, inside, most, lock = threading.Barrier(4), [0], [0], threading.Lock()
    errors: list[BaseException] = []

    def run() -> None:
        barrier.wait(30)
        try:
            with writing(place, "test", Patience(60)):
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                time.sleep(0.05)
                with lock:
                    inside[0] -= 1
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert most == [1]


def test_who_does_not_wait_is_told_who_writes_and_what_to_do(place: StoreLocation) -> None:
    words = r"append by .* process \d+, since .*break_lease=True \(--break-lease\)"
    with writing(place, "append"), pytest.raises(Busy, match=words):
        writing(place, "resume", Patience(0)).__enter__()
    with writing(place, "resume", Patience(0)):
        pass


def test_a_lease_of_a_dead_process_is_taken_over_at_once(place: StoreLocation) -> None:
    put(place, pid=2**22 + 1)
    with writing(place, "resume", Patience(0)):
        assert note_of(place)["doing"] == "resume"


def test_a_lease_of_another_machine_is_broken_on_purpose_only(tmp_path: Path) -> None:
    place = StoreLocation.of(tmp_path / "a.zarr", None, None)
    put(place, host="elsewhere", machine="another")
    with pytest.raises(Busy, match="elsewhere"):
        writing(place, "resume", Patience(0)).__enter__()
    with writing(place, "resume", Patience(0, break_lease=True)):
        assert note_of(place)["host"] != "elsewhere"


def test_a_lease_that_nobody_renews_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "EXPIRY", 0.3)
    place = StoreLocation.of(tmp_path / "a.zarr", None, None)
    put(place, host="elsewhere", machine="another")
    with writing(place, "resume", Patience(60)) as held:
        held.check_now()


def test_who_lost_the_lease_writes_nothing_more(tmp_path: Path) -> None:
    """Its machine slept, say; another one took over in the middle of its work."""
    whole, path = series(4), tmp_path / "a.zarr"
    place = StoreLocation.of(path, None, None)

    def robbed(values: Any) -> Any:
        if values.size and (path / KEY).exists():  # units are judged before there is a lease
            put(place, host="elsewhere", machine="another", token="another")
        return values

    lazy = whole.chunk(time=4)
    data = lazy["B04"].data.map_blocks(robbed, dtype=np.uint16, meta=np.zeros((0, 0, 0), "u2"))
    with pytest.raises(TecError, match=r"lost its lease to append by .* on elsewhere"):
        lazy.assign(B04=lazy["B04"].copy(data=data)).tec.compress(**SETTINGS, store=path)
    assert json.loads((path / KEY).read_bytes())["token"] == "another"
    assert not list((path / "reflectance").rglob("c/*"))
    with pytest.raises(Busy):
        tec_xarray.resume(whole, path, wait=0)
    tec_xarray.resume(whole, path, break_lease=True)
    assert tec_xarray.verify(path, whole).ok
    assert not (path / KEY).exists()


def test_a_group_waits_for_who_replaces_the_one_above_it(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    above = StoreLocation.of(path, None, None)
    below = StoreLocation.of(path, "north/t32", None)
    beside = StoreLocation.of(path, "south", None)
    with writing(below, "append"):
        with writing(beside, "append", Patience(0)):
            pass
        with pytest.raises(Busy):
            writing(above, "compress", Patience(0), replaces=True).__enter__()
    with writing(above, "compress", replaces=True), pytest.raises(Busy):
        writing(below, "append", Patience(0)).__enter__()


class Hooked(zarr.storage.WrapperStore):  # type: ignore[type-arg]
    """A store that says what is about to be written; of the module, since dask pickles it."""

    before_set: Callable[[str], None] = staticmethod(lambda _: None)

    async def set(self, key: str, value: Any, *args: Any, **kwargs: Any) -> None:
        self.before_set(key)
        await super().set(key, value, *args, **kwargs)

    def with_read_only(self, read_only: bool = False) -> Any:
        return self._store.with_read_only(read_only) if read_only else self


def archive(dates: int = 2) -> MemoryStore:
    store = MemoryStore()
    series(dates, (64, 64)).tec.compress(**SMALL, store=store, appendable=True)
    return store


def half() -> MemoryStore:
    """An archive without one of its blocks."""
    from tec_xarray.store.journal import Journal

    store = archive()
    Journal(StoreLocation(store), mode="r+").forget((0, 0, 0))
    return store


WRITERS: dict[str, Callable[[Any], Any]] = {
    "compress": lambda s: series(2, (64, 64)).tec.compress(**SMALL, store=s, mode="w", wait=0),
    "append": lambda s: tec_xarray.append(series(2, (64, 64), first=2), s, wait=0),
    "resume": lambda s: tec_xarray.resume(series(2, (64, 64)), s, wait=0),
    "region": lambda s: series(2, (64, 64)).tec.compress(
        **SMALL, store=s, region={"time": slice(0, 2)}, wait=0
    ),
    "copy from": lambda s: tec_xarray.copy(s, MemoryStore(), wait=0),
    "copy to": lambda s: tec_xarray.copy(archive(), s, wait=0),
}


@pytest.mark.parametrize("doing", WRITERS)
def test_every_writer_asks_first(doing: str) -> None:
    """While somebody holds the lease nothing changes; afterwards the same call works."""
    store: Any = MemoryStore() if doing == "copy to" else archive()
    with writing(StoreLocation(store), "append"):
        before = {k: v.to_bytes() for k, v in store._store_dict.items() if KEY not in k}
        with pytest.raises(Busy, match="append by"):
            WRITERS[doing](store)
        after = {k: v.to_bytes() for k, v in store._store_dict.items() if KEY not in k}
    assert before == after
    WRITERS[doing](store)
    assert tec_xarray.verify(store).ok
    assert KEY not in store._store_dict


@pytest.mark.parametrize("first", ["append", "resume", "region", "compress"])
@pytest.mark.parametrize("second", ["append", "copy from"])
def test_a_second_writer_in_the_middle_of_the_first(first: str, second: str) -> None:
    """The first one stops between two blocks until the second one has been refused."""
    store: Any = half() if first == "resume" else archive()
    waiting: list[threading.Thread] = []
    said: list[Exception] = []

    def attempt() -> None:
        try:
            WRITERS[second](store)
        except Exception as error:  # noqa: BLE001
            said.append(error)

    def meet(key: str) -> None:
        if key.startswith("reflectance/c/") and not waiting:
            waiting.append(threading.Thread(target=attempt))
            waiting[0].start()

    Hooked.before_set = staticmethod(meet)
    WRITERS[first](Hooked(store))
    waiting[0].join(60)
    assert all(isinstance(error, InvalidInput) for error in said)
    assert tec_xarray.verify(store).ok


@pytest.mark.parametrize("store", [MemoryStore(), {}, "memory://processes.zarr"])
def test_memory_and_processes_are_refused_before_anything_is_written(store: Any) -> None:
    with dask.config.set(scheduler="processes"), pytest.raises(InvalidInput, match="memory"):
        series(2).chunk(time=1).tec.compress(**SETTINGS, store=store)
    assert not StoreLocation.of(store, None, None).store_path().store.__dict__.get("_store_dict")


def test_a_store_that_does_not_pickle_to_the_same_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes back from tasks, the journal in the store has the word."""

    from tec_xarray.archive import writing as module
    from tec_xarray.store.journal import Done

    def pretend(job: Any, values: Any, beside: Any) -> Done:
        return Done(job.index, 4, False, 9, values.nbytes, 1, b"", np.zeros((3, 3)))

    monkeypatch.setattr(module, "write_block", pretend)
    with pytest.raises(TecError, match=r"4 of 4 blocks were written, but not to .*journal lacks"):
        series(4).tec.compress(**SETTINGS, store=MemoryStore())


@pytest.mark.parametrize(
    ("options", "zarr_format"), [({"quality": 1}, 3), ({"max_chunk_bytes": 1}, 2)]
)
def test_options_for_reading_change_nothing_that_is_written(
    options: dict[str, int], zarr_format: int, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "model": "flextec", "lam": 100, "max_error": 40, "chunks": (2, 3, 32, 32),
        "zarr_format": zarr_format, "shards": None if zarr_format == 2 else False,
    }  # fmt: skip
    data = series(3, (32, 32))
    want, found = tmp_path / "a.zarr", tmp_path / "b.zarr"
    data.isel(time=slice(1)).tec.compress(**settings, store=want, appendable=True)
    tec_xarray.append(data.isel(time=slice(1, None)), want)
    with set_options(**options):  # type: ignore[arg-type]
        data.isel(time=slice(1)).tec.compress(**settings, store=found, appendable=True)
        tec_xarray.append(data.isel(time=slice(1, None)), found)
        assert tec_xarray.verify(found, data).ok
    for name in ("reflectance", "tec_journal/digest", "tec_journal/errors"):
        ours = {
            p.relative_to(found): p.read_bytes()
            for p in (found / name).rglob("*[0-9]")
            if p.is_file()
        }
        theirs = {
            p.relative_to(want): p.read_bytes()
            for p in (want / name).rglob("*[0-9]")
            if p.is_file()
        }
        assert ours == theirs


@pytest.mark.parametrize("spelling", ["~/a.zarr", "a.zarr", "sub/../a.zarr", "./a.zarr"])
def test_paths_of_a_home_and_of_the_working_directory(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    data = series(2, (32, 32))
    data.tec.compress(**SMALL, store=spelling, appendable=True)
    assert (tmp_path / "a.zarr/tec_journal/zarr.json").exists()
    tec_xarray.append(series(2, (32, 32), first=2), Path(spelling))
    assert tec_xarray.verify(spelling).ok
    assert tec_xarray.info(Path(spelling))["shape"][0] == 4
    tec_xarray.copy(spelling, spelling.replace("a.", "b."))
    assert (tmp_path / "b.zarr/zarr.json").exists()
    assert tec_xarray.open_zarr(spelling).sizes["time"] == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr", "b.zarr"]


def test_copy_finds_what_was_read_short(tmp_path: Path) -> None:
    class Short(zarr.storage.WrapperStore):  # type: ignore[type-arg]
        async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
            found = await self._store.get(key, *args, **kwargs)
            if key.startswith("SCL/c/") and found is not None:
                return type(found).from_bytes(found.to_bytes()[:-7])
            return found

    with pytest.raises(TecError, match="SCL of the copy cannot be read"):
        tec_xarray.copy(Short(archive()), tmp_path / "b.zarr")


def test_copy_reads_back_what_it_wrote(tmp_path: Path) -> None:
    class Careless(zarr.storage.WrapperStore):  # type: ignore[type-arg]
        async def set(self, key: str, value: Any, *args: Any, **kwargs: Any) -> None:
            if key.startswith("SCL/c/"):
                value = type(value).from_bytes(value.to_bytes()[:-1] + b"x")
            await super().set(key, value, *args, **kwargs)

        def with_read_only(self, read_only: bool = False) -> Any:
            return self._store.with_read_only(read_only) if read_only else self

    with pytest.raises(TecError, match="came back from the copy otherwise"):
        tec_xarray.copy(archive(), Careless(MemoryStore()))


def test_copy_notices_that_its_source_changed() -> None:
    store = archive()

    class Changes(zarr.storage.WrapperStore):  # type: ignore[type-arg]
        async def set(self, key: str, value: Any, *args: Any, **kwargs: Any) -> None:
            await super().set(key, value, *args, **kwargs)
            if key == "zarr.json":
                store._store_dict["tec_journal/state/c/9/0/0/0"] = value

        def with_read_only(self, read_only: bool = False) -> Any:
            return self._store.with_read_only(read_only) if read_only else self

    with pytest.raises(TecError, match="changed while it was copied"):
        tec_xarray.copy(store, Changes(MemoryStore()))


def test_copy_does_not_mix_with_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInput, match=r"holds 'notes.txt'"):
        tec_xarray.copy(archive(), tmp_path / "b.zarr")
    assert [p.name for p in (tmp_path / "b.zarr").iterdir()] == ["notes.txt"]


def test_a_note_that_is_none_is_no_writer() -> None:
    assert Note.of(b"") is None
    assert Note.of(b'{"token": 1}') is None
