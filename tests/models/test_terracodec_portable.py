"""One stream, whatever the processor, the threads and the settings: each run in its own process."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import pytest

from probes import run_probe

ROOT = Path(__file__).parents[2]


probe = partial(run_probe, "exact_probe")


#: What torch 2.9.1, 2.13.0 and 2.14.1 printed; no version may print anything else.
DIGEST = "da16c3945a8e53e9a554b161fbbe81d2f048b080109ddda9c205c350d407c4b1"


@cache
def reference() -> str:
    return probe("--carrier", "float64", ATEN_CPU_CAPABILITY="default")


def test_what_other_versions_printed() -> None:
    assert reference() == DIGEST


def test_hostile_settings_and_another_instruction_set() -> None:
    assert probe("--hostile", "--threads", "2", ATEN_CPU_CAPABILITY="avx2") == reference()


@pytest.mark.parametrize("carrier", ["int8", "int16"])
def test_this_processor_as_it_is(carrier: str) -> None:
    assert probe("--threads", "2", "--carrier", carrier) == reference()


def test_the_code_of_devices_in_hostile_settings() -> None:
    assert probe("--hostile", "--device", "cpu-torch") == reference()


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["default", "avx2", "avx512"])
@pytest.mark.parametrize("threads", ["1", "2"])
def test_instruction_sets_of_torch(capability: str, threads: str) -> None:
    assert probe("--threads", threads, ATEN_CPU_CAPABILITY=capability) == reference()


@pytest.mark.slow
@pytest.mark.parametrize("level", ["SSE41", "AVX2", "AVX512_CORE", "AVX512_CORE_VNNI"])
@pytest.mark.parametrize("carrier", ["int8", "auto"])
def test_instruction_sets_of_onednn(level: str, carrier: str) -> None:
    """Where byte kernels saturate, the probe must notice and leave them alone."""
    assert probe("--carrier", carrier, ONEDNN_MAX_CPU_ISA=level) == reference()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["COMPATIBLE", "AVX2", "AUTO"])
def test_modes_of_mkl(mode: str) -> None:
    assert probe(MKL_CBWR=mode) == reference()


@pytest.mark.slow
def test_without_the_native_coder() -> None:
    assert probe(TEC_DISABLE_NATIVE="1") == reference()


@cache
def published_reference() -> str:
    return probe("--published", "--carrier", "float64", ATEN_CPU_CAPABILITY="default")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (("--threads", "2"), {}),
        (("--carrier", "int8"), {}),
        (("--carrier", "int16"), {}),
        (("--device", "cpu-torch"), {}),
        (("--device", "cpu-torch", "--carrier", "float64", "--threads", "2"), {}),
        (("--carrier", "int8", "--threads", "2"), {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}),
        ((), {"ONEDNN_MAX_CPU_ISA": "SSE41"}),
        (("--hostile", "--threads", "2"), {"ATEN_CPU_CAPABILITY": "avx2"}),
        ((), {"TEC_DISABLE_NATIVE": "1", "ATEN_CPU_CAPABILITY": "avx512"}),
    ],
)
def test_published_size(arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    """Two frames of TEC-TT as published: streams and exact pixels."""
    assert probe("--published", *arguments, **environment) == published_reference()
