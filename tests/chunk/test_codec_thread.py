"""The thread that codes chunks: every caller gets a result or an error, and the next call works."""

import ctypes
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import CancelledError, Future

import numpy as np
import pytest
import zarr

from tec_numcodecs import TecCodec, TecSerializer
from tec_numcodecs.chunk import batching, decoding
from tec_numcodecs.errors import InvalidInput, TecError
from tec_numcodecs.options import Options

WAIT = 120  # seconds until a test gives up on a thread that hangs

CUBE = np.full((1, 1, 8, 8), 1200, np.uint16)


def works() -> bool:
    codec = TecCodec(bands=["B02"], max_error=0)
    return bool((codec.decode(codec.encode(CUBE)) == CUBE).all())


def in_zarr() -> "zarr.Array[object]":
    return zarr.create_array(
        zarr.storage.MemoryStore(),
        shape=CUBE.shape,
        chunks=CUBE.shape,
        dtype=CUBE.dtype,
        serializer=TecSerializer(bands=["B02"], max_error=0),
        compressors=None,
        fill_value=0,
    )


@pytest.mark.parametrize("option", Options.__dataclass_fields__)
def test_an_environment_variable_that_cannot_be_parsed(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = in_zarr()
    monkeypatch.setenv(f"TEC_{option.upper()}", "\x1b what?")
    with pytest.raises(InvalidInput, match=f"TEC_{option.upper()}"):
        works()
    with pytest.raises(InvalidInput, match=f"TEC_{option.upper()}"):
        array[:] = CUBE
    monkeypatch.delenv(f"TEC_{option.upper()}")
    assert works()
    array[:] = CUBE
    assert (array[:] == CUBE).all()


KINDS = (
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
    MemoryError,
    RecursionError,
    StopIteration,
    StopAsyncIteration,
    CancelledError,
    AssertionError,
)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_any_kind_in_a_task(
    kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    array, plain = in_zarr(), issubclass(kind, MemoryError | RecursionError | AssertionError)
    with monkeypatch.context() as patched:

        def broken(*_: object) -> None:
            raise kind

        patched.setattr(decoding, "encode", broken)
        with pytest.raises(kind if plain else TecError):
            works()
        with pytest.raises(kind if plain else TecError):
            array[:] = CUBE
    array[:] = CUBE
    assert (array[:] == CUBE).all()
    assert works()


def test_of_a_batch_only_the_culprit_fails() -> None:
    def run(items: "list[str]") -> "list[str]":
        if "bad" in items:
            raise KeyboardInterrupt
        return items

    gate = hold_up()
    futures = [batching._submit(("batch",), item, run) for item in ("a", "bad", "b")]
    gate.set()
    assert [futures[0].result(WAIT), futures[2].result(WAIT)] == ["a", "b"]
    with pytest.raises(TecError, match="KeyboardInterrupt"):
        futures[1].result(WAIT)


def test_as_many_results_as_chunks() -> None:
    gate = hold_up()
    futures = [batching._submit(("odd",), item, lambda _: [1, 2, 3]) for item in range(2)]
    gate.set()
    for future in futures:
        with pytest.raises(RuntimeError, match="3 results for 1 chunks"):
            future.result(WAIT)
    assert works()


def test_a_future_that_was_cancelled() -> None:
    gate = hold_up()
    futures = [batching._submit(("batch",), item, list) for item in range(3)]
    assert futures[1].cancel()
    gate.set()
    assert [futures[0].result(WAIT), futures[2].result(WAIT)] == [0, 2]
    assert works()


def test_a_key_that_cannot_be_hashed_is_the_callers_error() -> None:
    with pytest.raises(TypeError):
        batching._submit(([],), 0, list)
    assert works()


def test_a_callback_that_raises() -> None:
    def broken(_: object) -> None:
        raise SystemExit

    gate = hold_up()
    futures = [batching._submit((n,), n, list) for n in range(3)]
    futures[0].add_done_callback(broken)
    gate.set()
    assert futures[0].result(WAIT) == 0
    assert works()


def test_a_thread_that_somebody_ended() -> None:
    assert works()
    before = batching._current
    gate = hold_up()
    waiting = batching._submit(("x",), 1, list)
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(before.thread.ident), ctypes.py_object(SystemExit)
    )
    gate.set()
    works()
    assert works()
    assert waiting.exception(WAIT) is None or isinstance(waiting.exception(), TecError)


def test_jobs_of_a_thread_that_is_gone_are_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    assert works()
    gone = threading.Thread(target=int)
    gone.start()
    gone.join()
    left = batching._Worker(os.getpid(), batching.queue.SimpleQueue(), gone)
    future: Future[int] = Future()
    left.jobs.put(batching._Job(("left",), 7, list, 4, future))
    monkeypatch.setattr(batching, "_current", left)
    assert works()
    assert future.result(WAIT) == 7


def test_a_system_without_threads_to_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(batching, "_current", None)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert works()
    monkeypatch.undo()
    assert works()


def test_a_job_that_uses_the_codec_itself() -> None:
    assert batching._submit(("nested",), 0, lambda _: [works()]).result(WAIT)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_of_a_fork_while_the_thread_is_busy() -> None:
    gate = hold_up()
    child = os.fork()
    if child == 0:
        os._exit(0 if works() else 1)
    _, status = os.waitpid(child, 0)
    gate.set()
    assert os.waitstatus_to_exitcode(status) == 0
    assert works()


def test_the_end_of_the_interpreter() -> None:
    script = """
        import atexit, os, sys
        import numpy as np
        from tec_numcodecs import TecCodec
        codec, cube = TecCodec(bands=["B02"], max_error=0), np.full((1, 1, 8, 8), 9, np.uint16)
        def use(when, codec=codec, cube=cube, write=os.write):
            write(1, (when if (codec.decode(codec.encode(cube)) == cube).all() else "bad").encode())
        class Late:
            def __del__(self, use=use):
                use("late ")
        late = Late()
        late.ring = late  # collected by the last run of the garbage collector
        sys.modules["kept"] = late
        atexit.register(use, "atexit ")
        use("main ")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["main", "atexit", "late"]), done.stderr


def hold_up() -> threading.Event:
    """Keep the thread busy until an event is set."""
    gate, busy = threading.Event(), threading.Event()

    def wait(_: object) -> "list[None]":
        busy.set()
        gate.wait(WAIT)
        return [None]

    batching._submit(("hold up", object()), 0, wait)
    assert busy.wait(WAIT)
    return gate
