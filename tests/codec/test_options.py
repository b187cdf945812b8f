from __future__ import annotations

import dataclasses
import gc
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tec_numcodecs import options
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.options import Options, get_options, set_options


def test_defaults() -> None:
    assert get_options() == Options(device="cpu", threads=1, batch_size=16, progress=False)


def test_a_plain_call_holds() -> None:
    set_options(threads=2, device="cuda:1")
    set_options(threads=3)
    assert get_options() == Options(device="cuda:1", threads=3)


def test_a_block_takes_back_its_own_change() -> None:
    set_options(threads=2)
    with set_options(threads=5, batch_size=1):
        with set_options(threads=6):
            assert get_options().threads == 6
        assert get_options() == Options(threads=5, batch_size=1)
    assert get_options() == Options(threads=2)


def test_a_block_ends_with_its_exception() -> None:
    with pytest.raises(RuntimeError), set_options(threads=9):
        raise RuntimeError
    assert get_options().threads == 1


def test_one_object_enters_twice() -> None:
    setting = set_options(threads=4)
    for _ in range(2):
        with setting:
            assert get_options().threads == 4
        assert get_options().threads == 1


def test_blocks_that_end_in_the_wrong_order() -> None:
    first, second = set_options(threads=2), set_options(threads=3, batch_size=2)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert get_options() == Options(threads=3, batch_size=2)
    second.__exit__(None, None, None)
    assert get_options() == Options()


def test_a_plain_call_inside_a_block_outlives_it() -> None:
    with set_options(threads=2):
        set_options(threads=7)
        assert get_options().threads == 7
    assert get_options().threads == 7


def test_many_plain_calls_take_no_memory() -> None:
    for count in range(1, 2000):
        set_options(threads=count)
        set_options(batch_size=count, threads=count)
    gc.collect()
    assert len(options._layers) <= 3
    assert get_options() == Options(threads=1999, batch_size=1999)


def test_threads_at_the_same_time_leave_nothing_behind() -> None:
    barrier = threading.Barrier(8)

    def work(seed: int) -> int:
        barrier.wait()
        wrong = 0
        for step in range(200):
            value = 1 + seed * 1000 + step
            with set_options(batch_size=value):
                seen = get_options()
                # Another thread's block may be newer, but no value may be torn or from nowhere.
                wrong += not 1 <= seen.batch_size <= 8000 or seen.threads != 1
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 0
    assert get_options() == Options()
    assert options._layers == ()


def test_settings_reach_other_threads() -> None:
    # Zarr and Dask call codecs from threads that know nothing of the caller's context.
    with set_options(batch_size=3), ThreadPoolExecutor(1) as pool:
        assert pool.submit(get_options).result().batch_size == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"thread": 2}, r"unknown option 'thread'; .*; did you mean 'threads'\?"),
        ({"lam": 20}, "unknown option 'lam'; allowed: device, threads, batch_size, progress"),
        ({"threads": 0}, "threads = 0; allowed: a whole number >= 1"),
        ({"threads": -1}, "threads = -1"),
        ({"threads": 1.5}, "threads = 1.5"),
        ({"threads": True}, "threads = True"),
        ({"threads": "many"}, "threads = 'many'"),
        ({"batch_size": None}, "batch_size = None"),
        ({"device": "gpu"}, "device = 'gpu'; allowed: 'cpu', 'cuda'"),
        ({"device": ""}, "device = ''; allowed: 'cpu', 'cuda'"),
        ({"device": "cuda:x"}, "device = 'cuda:x'"),
        ({"device": 0}, "device = 0"),
        ({"progress": "maybe"}, "progress = 'maybe'"),
        ({"progress": 2}, "progress = 2"),
    ],
)
def test_bad_settings_change_nothing(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        set_options(**{"progress": True, **settings})  # type: ignore[typeddict-item]
    assert get_options() == Options()


def test_numpy_integers_become_plain() -> None:
    set_options(threads=np.int64(2))  # type: ignore[typeddict-item]
    assert type(get_options().threads) is int


def test_environment_is_between_defaults_and_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEC_DEVICE", "cuda:1")
    monkeypatch.setenv("TEC_THREADS", "4")
    monkeypatch.setenv("TEC_BATCH_SIZE", "8")
    monkeypatch.setenv("TEC_PROGRESS", "1")
    assert get_options() == Options(device="cuda:1", threads=4, batch_size=8, progress=True)
    with set_options(threads=2):
        assert get_options() == Options(device="cuda:1", threads=2, batch_size=8, progress=True)


def test_empty_variables_mean_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEC_THREADS", "")
    assert get_options().threads == 1


def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEC_THREADS", "two")
    with pytest.raises(InvalidInput, match="TEC_THREADS = 'two'; allowed: a whole number >= 1"):
        get_options()


def test_a_snapshot_does_not_change() -> None:
    before = get_options()
    set_options(threads=2)
    assert before.threads == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.threads = 3  # type: ignore[misc]


def test_repr_can_be_pasted() -> None:
    assert repr(set_options(threads=2, device="cpu")) == "set_options(threads=2, device='cpu')"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_is_not_locked_out() -> None:
    # In a process of its own: this one has threads, and forking those is what is under test.
    script = """
import os
from tec_numcodecs import options
with options._lock:  # as another thread might hold it at the moment of the fork
    child = os.fork()
    if child == 0:
        options.set_options(threads=2)
        os._exit(options.get_options().threads)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
