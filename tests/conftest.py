"""What all tests share: a clean environment, hypothesis profiles, settings put back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

# Before anything of ours is imported: a developer's own settings must not decide a test, no test
# may reach out to a hub, and figures are drawn without a screen. TEC_DISABLE_NATIVE stays: with it
# the whole suite runs on the NumPy twins of the C code.
for _name in ("DEVICE", "THREADS", "BATCH_SIZE", "PROGRESS", "WEIGHTS_DIR"):
    os.environ.pop(f"TEC_{_name}", None)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")

from loopback import no_proxy  # noqa: E402
from tec_numcodecs import options  # noqa: E402

# No deadlines: the machine may be busy, and time is what benchmarks are for.
hypothesis.settings.register_profile("fast", deadline=None, max_examples=40, print_blob=True)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=400, print_blob=True)
hypothesis.settings.load_profile("fast")

#: Files that take long, the longest first: processes that share the tests, a file at a time (see
#: Makefile), end together only if no long file begins last.
_LONG = (
    "test_inpaint.py", "test_demo.py", "test_writers.py", "test_sections.py", "test_section.py",
    "test_spectral.py", "test_mini_context.py", "test_reference_context.py",
    "test_training.py", "test_second_loss.py", "test_archive.py", "test_cli.py", "test_stores.py",
    "test_exact_synthesis.py", "test_terracodec_portable.py", "test_reference.py",
    "test_xarray_io.py", "test_rate_control.py", "test_golden_published.py", "test_chunk.py",
    "test_arguments.py", "test_docs.py", "test_published.py", "test_terracodec_weights.py",
    "test_geo.py", "test_storm.py", "test_kill_storm.py", "test_stac.py", "test_stac_trust.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that take long first; the rest stays as it is."""
    place = {name: i for i, name in enumerate(_LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(autouse=True)
def _options_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test the default settings and forget what it set."""
    monkeypatch.setattr(options, "_layers", ())


@pytest.fixture(scope="session")
def _local_cluster() -> Iterator[Any]:
    """Two workers in processes of their own, started once: they import for seconds."""
    from distributed import LocalCluster

    with (
        no_proxy(),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
    ):
        yield cluster


@pytest.fixture
def client(_local_cluster: Any) -> Iterator[Any]:
    """A client, current for the length of a test, of two workers that are alive."""
    from distributed import Client

    with Client(_local_cluster) as found:
        found.wait_for_workers(2)
        yield found
