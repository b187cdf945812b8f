"""The committed corpus of the fuzzer and simple mutations of it, where there is no atheris."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FUZZ = Path(__file__).parents[1] / "fuzz"
SEEDS = sorted((FUZZ / "corpus").glob("*/*"))


@pytest.fixture(scope="module")
def harness() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_harness", FUZZ / "harness.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_seeds_of_every_target(harness):
    assert {path.parent.name for path in SEEDS} == set(harness.TARGETS)


@pytest.mark.parametrize("path", SEEDS, ids=[f"{p.parent.name}-{p.name}" for p in SEEDS])
def test_seeds_and_their_mutations(path, harness):
    """Readers agree on seeds, and on a dozen mutations of each."""
    run, seed = harness.TARGETS[path.parent.name], path.read_bytes()
    run(seed)
    random = np.random.default_rng(len(seed))
    for _ in range(12):
        mutated = bytearray(seed)
        for _ in range(int(random.integers(1, 4))):
            at = int(random.integers(len(seed)))
            match random.integers(4):
                case 0:
                    mutated[at % max(len(mutated), 1)] = int(random.integers(256))
                case 1:
                    mutated = mutated[:at]
                case 2:
                    mutated[at:at] = bytes([int(random.integers(256))])
                case _:
                    mutated[at:at] = seed[-at - 1 :]
            mutated = mutated or bytearray(b"\0")
        run(bytes(mutated))


def test_a_disagreement_is_found(harness):
    """The judge is no rubber stamp."""

    def refuses():
        raise harness.CorruptChunk("no")

    with pytest.raises(AssertionError, match="one reader refuses"):
        harness.agree(lambda: 1, refuses)
    with pytest.raises(AssertionError):
        harness.agree(lambda: np.array([1]), lambda: np.array([2]))
    assert harness.agree(refuses, refuses) is None
