"""The codec in numcodecs and Zarr, formats 2 and 3, as readers and writers meet it."""

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap

import numcodecs
import numpy as np
import pytest
import zarr
from numcodecs.registry import get_codec

from cubes import scene
from tec_numcodecs import CorruptChunk, InvalidInput, TecCodec, TecSerializer, inspect
from tec_numcodecs.chunk.container import Mode

BANDS = ["B02", "B03", "B04", "B08"]
SETTINGS = {"model": "fp", "lam": 50, "bands": BANDS}


def create(store, cube, zarr_format=3, **keywords):
    """An array of chunks (2, 4, 32, 32) under our codec."""
    codec = (
        {"serializer": TecSerializer(**SETTINGS), "compressors": None}
        if zarr_format == 3
        else {"compressors": TecCodec(**SETTINGS), "filters": None}
    )
    array = zarr.create_array(
        store, shape=cube.shape, dtype=cube.dtype, chunks=(2, 4, 32, 32), fill_value=0,
        zarr_format=zarr_format, **codec, **keywords,
    )  # fmt: skip
    array[:] = cube
    return array


@pytest.fixture
def cube():
    found = scene((3, 4, 70, 50))
    found[:, :, 40:, :9] = 0
    return found


def close(found, cube):
    assert (found.shape, found.dtype) == (cube.shape, cube.dtype)
    np.testing.assert_array_equal(found == 0, cube == 0)
    assert np.abs(found.astype(int) - cube).mean() < 120


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("shards", [None, (2, 4, 64, 64)])
def test_arrays_come_back(tmp_path, cube, zarr_format, shards):
    if zarr_format == 2 and shards:
        pytest.skip("format 2 has no shards")
    keywords = {"shards": shards} if shards else {}
    create(tmp_path / "a.zarr", cube, zarr_format, **keywords)
    array = zarr.open_array(tmp_path / "a.zarr", mode="r")
    close(array[:], cube)
    close(array[1:2, :, 5:9, 30:41], cube[1:2, :, 5:9, 30:41])


def test_both_formats_hold_the_same_chunks(tmp_path, cube):
    create(tmp_path / "2.zarr", cube, 2)
    create(tmp_path / "3.zarr", cube, 3)
    assert (tmp_path / "2.zarr" / "0.0.1.0").read_bytes() == (
        tmp_path / "3.zarr" / "c" / "0" / "0" / "1" / "0"
    ).read_bytes()


def test_formats_two_as_the_only_filter(tmp_path, cube):
    array = zarr.create_array(
        tmp_path / "f.zarr", shape=cube.shape, dtype=cube.dtype, chunks=(2, 4, 32, 32),
        zarr_format=2, filters=[TecCodec(**SETTINGS)], compressors=None, fill_value=0,
    )  # fmt: skip
    array[:] = cube
    close(array[:], cube)


def test_metadata_is_complete_json(tmp_path, cube):
    create(tmp_path / "a.zarr", cube)
    metadata = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    (codec,) = metadata["codecs"]
    assert codec["name"] == "tec_xarray"
    configuration = codec["configuration"]
    assert configuration["bands"] == BANDS
    assert len(configuration["weights"]["sha256"]) == 64
    assert TecSerializer.from_dict(codec).to_dict() == codec


def test_a_reader_imports_nothing_of_ours(tmp_path, cube):
    create(tmp_path / "3.zarr", cube, 3, shards=(2, 4, 64, 64))
    create(tmp_path / "2.zarr", cube, 2)
    code = """
        import sys, numpy, zarr
        a, b = (zarr.open_array(path, mode="r")[:] for path in sys.argv[1:])
        numpy.testing.assert_array_equal(a, b)
        assert "torch" not in sys.modules and "tec_xarray" not in sys.modules
        print(int(a.astype(int).sum()))
    """
    paths = [str(tmp_path / name) for name in ("3.zarr", "2.zarr")]
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *paths],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(run.stdout) == int(zarr.open_array(paths[0])[:].astype(int).sum())


def test_threads_environment_changes_no_pixel(tmp_path, cube):
    create(tmp_path / "a.zarr", cube)
    code = """
        import sys, hashlib, zarr
        print(hashlib.sha256(zarr.open_array(sys.argv[1], mode="r")[:].tobytes()).hexdigest())
    """
    found = set()
    for extra in (
        {"OMP_NUM_THREADS": "1"},
        {"OMP_NUM_THREADS": "2", "TEC_THREADS": "2", "TEC_BATCH_SIZE": "1"},
        {"TEC_DISABLE_NATIVE": "1", "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX"},
        {"ZARR_CODEC_PIPELINE__BATCH_SIZE": "16"},
    ):
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), str(tmp_path / "a.zarr")],
            capture_output=True, text=True, check=True, env=os.environ | extra,
        )  # fmt: skip
        found.add(run.stdout)
    assert len(found) == 1


@pytest.mark.parametrize("pipeline", ["batched", "fused"])
def test_pipelines(tmp_path, cube, pipeline):
    paths = {
        "batched": "zarr.core.codec_pipeline.BatchedCodecPipeline",
        "fused": "zarr.core.codec_pipeline.FusedCodecPipeline",
    }
    if not hasattr(zarr.core.codec_pipeline, paths[pipeline].rsplit(".", 1)[1]):
        pytest.skip("this Zarr has no fused pipeline")
    with zarr.config.set({"codec_pipeline.path": paths[pipeline], "codec_pipeline.batch_size": 4}):
        create(tmp_path / "a.zarr", cube)
        close(zarr.open_array(tmp_path / "a.zarr")[:], cube)


def test_chunks_that_were_never_written_are_not_decoded(tmp_path):
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(2, 4, 64, 64), dtype="u2", chunks=(2, 4, 32, 32), fill_value=0,
        serializer=TecSerializer(**SETTINGS), compressors=None,
    )  # fmt: skip
    array[:, :, :32] = scene((2, 4, 32, 64))
    array[:, :, :32, :32] = 0
    assert not array[:, :, 32:].any()
    assert array.nchunks_initialized == 1


def test_swapped_chunks_of_another_array_are_refused(tmp_path, cube):
    create(tmp_path / "a.zarr", cube)
    other = zarr.create_array(
        tmp_path / "b.zarr", shape=(1, 4, 16, 16), dtype="u2", chunks=(1, 4, 16, 16),
        serializer=TecSerializer(**SETTINGS), compressors=None,
    )  # fmt: skip
    other[:] = scene((1, 4, 16, 16))
    stolen = (tmp_path / "b.zarr" / "c" / "0" / "0" / "0" / "0").read_bytes()
    (tmp_path / "a.zarr" / "c" / "0" / "0" / "0" / "0").write_bytes(stolen)
    with pytest.raises(ValueError, match="another array"):
        zarr.open_array(tmp_path / "a.zarr")[:]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"dtype": "f8"}, "float64"),
        ({"dtype": "u1"}, "uint8"),
        ({"shape": (4, 64, 64), "chunks": (4, 32, 32)}, "3 axes"),
        ({"chunks": (2, 2, 32, 32)}, "2 bands"),
    ],
)
def test_arrays_are_refused_when_they_are_created(tmp_path, keywords, message):
    good = {"shape": (2, 4, 64, 64), "dtype": "u2", "chunks": (2, 4, 32, 32)}
    with pytest.raises(InvalidInput, match=message):
        zarr.create_array(
            tmp_path / "a.zarr", serializer=TecSerializer(**SETTINGS), compressors=None,
            **good | keywords,
        )  # fmt: skip
    assert not (tmp_path / "a.zarr" / "zarr.json").exists()


def test_fortran_order_is_refused_not_scrambled(tmp_path, cube):
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=cube.shape, dtype=cube.dtype, chunks=(2, 4, 32, 32), order="F",
        zarr_format=2, compressors=TecCodec(**SETTINGS), filters=None,
    )  # fmt: skip
    with pytest.raises(InvalidInput, match="Fortran"):
        array[:] = cube


# -- the codecs themselves ----------------------------------------------------------------------


def test_numcodecs_finds_the_codec_by_its_id():
    codec = get_codec(TecCodec(**SETTINGS).get_config())
    assert isinstance(codec, TecCodec)
    assert codec == TecCodec(**SETTINGS)
    assert "lam=50" in repr(codec)
    json.dumps(codec.get_config())


def test_numcodecs_fills_the_array_it_is_given():
    cube = scene((1, 4, 20, 20))
    codec = TecCodec(**SETTINGS)
    data = codec.encode(cube)
    out = np.empty_like(cube)
    assert codec.decode(data, out=out) is out
    np.testing.assert_array_equal(out, codec.decode(np.frombuffer(data, np.uint8)))
    assert inspect(data).header.mode == Mode.MODEL


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_numcodecs_fills_whatever_holds_the_samples(dtype):
    """Either byte order, a flat row, strides, plain bytes: the same numbers."""
    codec = TecCodec(**SETTINGS)
    data = codec.encode(scene((1, 4, 20, 24)).astype(dtype))
    pixels = codec.decode(data)
    assert pixels.dtype == dtype
    strided = np.zeros((1, 4, 20, 48), "u2")[..., ::2]
    for out in (np.zeros(pixels.shape, "<u2"), np.zeros(pixels.shape, ">u2"), strided):
        np.testing.assert_array_equal(codec.decode(data, out=out), pixels)
    flat = np.zeros(pixels.size, "u2")
    codec.decode(data, out=flat)
    np.testing.assert_array_equal(flat, pixels.ravel())
    for raw in (bytearray(pixels.nbytes), np.zeros((pixels.size, 2), "u1"), np.zeros(2, "V1920")):
        codec.decode(data, out=raw)
        assert bytes(raw) == pixels.tobytes()


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((1, 4, 20, 24), "i2"),  # as many bytes, other numbers
        np.zeros((1, 4, 20, 24), "f2"),
        np.zeros((1, 4, 20, 12), "u4"),
        np.zeros((1, 4, 24, 20), "u2"),  # as many samples, other places
        np.zeros((4, 20, 24), "u2"),
        np.zeros((2, 4, 20, 24), "u2"),  # would be filled by broadcasting
        np.zeros((1, 4, 20, 23), "u2"),
        np.zeros(1919, "u2"),
        np.zeros((1, 4, 20, 24), object),
        np.zeros((1920, 4), "u1")[:, ::2],  # bytes with gaps
        bytearray(3839),
        bytearray(1920),
    ],
    ids=lambda out: str(getattr(out, "dtype", "bytes")) + str(np.shape(out)),
)
def test_numcodecs_refuses_what_is_for_other_samples(out):
    codec = TecCodec(**SETTINGS)
    data = codec.encode(scene((1, 4, 20, 24)))
    before = bytes(out)
    with pytest.raises(CorruptChunk, match=r"uint16 and shape \(1, 4, 20, 24\)"):
        codec.decode(data, out=out)
    assert bytes(out) == before


@pytest.mark.parametrize("dtype", ["f8", "u1", "u4", "?", "c8", "M8[s]"])
def test_format_two_refuses_data_types_when_it_writes(dtype):
    """It tells a codec nothing when an array is created."""
    array = zarr.create_array(
        zarr.storage.MemoryStore(), shape=(1, 4, 8, 8), chunks=(1, 4, 8, 8), dtype=dtype,
        zarr_format=2, compressors=TecCodec(**SETTINGS), filters=None,
    )  # fmt: skip
    with pytest.raises(InvalidInput, match="uint16, int16"):
        array[:] = np.ones((1, 4, 8, 8), dtype)
    assert array.nchunks_initialized == 0


@pytest.mark.parametrize("make", [TecCodec, TecSerializer])
def test_pickles_carry_the_configuration_only(make):
    codec = make(**SETTINGS)
    TecCodec(**SETTINGS).encode(scene((1, 4, 8, 8)))  # loads the model and starts the thread
    data = pickle.dumps(codec)
    assert len(data) < 1000
    assert pickle.loads(data) == codec


def test_errors_travel_between_processes():
    error = InvalidInput("lam = -1", allowed="> 0", fix="pass lam=20")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (InvalidInput, "lam = -1; allowed: > 0; pass lam=20")


def _read_sum(path, results):
    results.put(int(zarr.open_array(path, mode="r")[:].astype(np.int64).sum()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_reads(tmp_path, cube):
    """Like a DataLoader: the parent has used the codec, then forks readers."""
    create(tmp_path / "a.zarr", cube)
    expected = int(zarr.open_array(tmp_path / "a.zarr", mode="r")[:].astype(np.int64).sum())
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    children = [
        context.Process(target=_read_sum, args=(tmp_path / "a.zarr", results)) for _ in range(2)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        if child.is_alive():
            child.kill()
            pytest.fail("a forked reader hangs")
    assert [results.get() for _ in children] == [expected] * 2


def test_one_bad_chunk_in_a_batch_fails_alone():
    from tec_numcodecs.chunk import batching
    from tec_numcodecs.config import CodecConfig

    config = CodecConfig.parse(**SETTINGS)
    good = TecCodec(**SETTINGS).encode(scene((1, 4, 16, 16)))
    futures = [batching.decode(data, config, None) for data in (good, b"junk" * 9, good, good)]
    assert futures[0].result().shape == (1, 4, 16, 16)
    with pytest.raises(ValueError, match="another codec"):
        futures[1].result()
    assert [f.result().shape for f in futures[2:]] == [(1, 4, 16, 16)] * 2


def test_the_registries_know_one_name():
    assert "tec_xarray" in numcodecs.registry.codec_registry or get_codec(
        TecCodec(lam=1).get_config()
    )
    assert TecSerializer(lam=1).to_dict()["name"] == TecCodec.codec_id
