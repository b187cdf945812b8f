"""What opening an archive does to the machine: no file by a name from metadata, no connection.

A process of its own opens archives whose metadata name paths, published checkpoints and hubs. All
that it opens is told twice: by Python's audit events, and by the system calls where strace is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import tec_numcodecs
import tec_xarray
from tec_numcodecs.weights import published

PUBLISHED = published.published("fp", 40.0)
HOSTILE: dict[str, Any] = {
    "id of a published file": {"id": PUBLISHED.id, "sha256": "1" * 64},
    "unknown weights": {"id": "mini-other", "sha256": "2" * 64},
    "a path for an id": {"id": "mini-../secret.safetensors", "sha256": "3" * 64},
    "a path": "secret.pt",
    "an absolute path": "{outside}/secret.pt",
    "a family": "terracodec-1.0",
    "a directory": ".",
    "a URL": "https://127.0.0.1:9/secret.pt",
    "a mapping with a path": {"id": PUBLISHED.id, "sha256": "4" * 64, "path": "secret.pt"},
}

_READER = """
import sys
events = []
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path = arguments[0]
        events.append("open " + (path if isinstance(path, str) else path.decode(errors="replace")))
    elif event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "os.system",
                   "subprocess.Popen", "os.posix_spawn", "os.exec", "ctypes.dlopen.remote"):
        events.append(event)
import warnings
warnings.simplefilter("ignore")
import xarray as xr, zarr
import tec_xarray, tec_xarray.archive.verification
from tec_numcodecs.errors import TecError
sys.addaudithook(hook)
print("BEGIN", file=sys.stderr, flush=True)
with open("marker-of-the-test", "w"): pass
ends = []
for store in sys.argv[2:]:
    for read in (lambda: xr.open_zarr(store)["reflectance"].values, lambda: tec_xarray.info(store),
                 lambda: tec_xarray.open_zarr(store)["reflectance"].values,
                 lambda: tec_xarray.verify(store)):
        try:
            read()
            ends.append("read")
        except TecError as error:
            ends.append(type(error).__name__)
heavy = [name for name in ("torch", "huggingface_hub", "requests", "httpx") if name in sys.modules]
with open(sys.argv[1], "w") as file:
    file.write("\\n".join([*events, "ends " + " ".join(ends), "heavy " + " ".join(heavy)]))
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with archives, and beside them files that nobody may open."""
    folder = tmp_path_factory.mktemp("hostile")
    outside = folder / "outside"
    (folder / "stores").mkdir()
    (outside / "terracodec-1.0").mkdir(parents=True)
    for name in ("secret.pt", "secret.safetensors", "mini", f"terracodec-1.0/{PUBLISHED.file}"):
        (outside / name).write_bytes(b"nobody may read this")
    # Noise: what a chunk without a model holds in fewer bytes is read without any weights.
    cube = np.random.default_rng(0).integers(900, 1500, (1, 2, 64, 64)).astype(np.uint16)
    dataset = xr.Dataset(
        {"reflectance": (("time", "band", "y", "x"), cube)}, {"band": ["B02", "B03"]}
    )
    good = folder / "stores" / "good.zarr"
    dataset.tec.compress(lam=20, sensor="sentinel-2-l2a", store=good)
    for number, weights in enumerate(HOSTILE.values()):
        store = folder / "stores" / f"{number}.zarr"
        shutil.copytree(good, store)
        if isinstance(weights, str):
            weights = weights.replace("{outside}", str(outside))  # noqa: PLW2901
        for path in store.rglob("zarr.json"):
            _plant(path, weights)
    return folder


def _plant(path: Path, weights: object) -> None:
    """Replace the weights of every codec in a file of metadata."""

    def changed(value: Any) -> Any:
        if isinstance(value, list):
            return [changed(item) for item in value]
        if isinstance(value, dict):
            return {
                k: weights if k == "weights" and "model" in value else changed(v)
                for k, v in value.items()
            }
        return value

    path.write_text(json.dumps(changed(json.loads(path.read_text()))))


def run(hostile: Path, *prefix: str) -> list[str]:
    """Read all archives in a process of its own, and return what it noted down."""
    notes = hostile / "notes.txt"
    environment = {
        **os.environ,
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_TOKEN": "hf_secretsecretsecret",
        "TEC_WEIGHTS_DIR": str(hostile / "weights"),
        "PYTHONPATH": str(Path(tec_numcodecs.__file__).parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    stores = sorted(map(str, (hostile / "stores").iterdir()))
    done = subprocess.run(
        [*prefix, sys.executable, "-c", _READER, str(notes), *stores],
        cwd=hostile / "outside", env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return notes.read_text().splitlines()


def allowed(hostile: Path) -> tuple[str, ...]:
    """Folders of which files may be opened: archives, weights, packages, the system."""
    import numcodecs
    import zarr

    packages = {Path(m.__file__).parents[1] for m in (tec_xarray, tec_numcodecs, zarr, numcodecs)}
    roots = [hostile / "stores", hostile / "weights", sys.prefix, sys.base_prefix, *packages]
    return (*{os.path.realpath(root) + "/" for root in roots}, *(f"{root}/" for root in roots),
            "/proc/", "/sys/", "/dev/", "/usr/", "/lib", "/etc/ld", "/etc/localtime")  # fmt: skip


def check_paths(hostile: Path, paths: list[str]) -> None:
    ours = {"marker-of-the-test", str(hostile / "notes.txt")}
    roots = allowed(hostile)
    outside = [p for p in paths if p not in ours and not f"{p}/".startswith(roots)]
    cached = [p for p in outside if "tec_numcodecs/weights" in p]  # the user's cache of weights
    assert set(outside) == set(cached), outside
    assert any("good.zarr" in path for path in paths), "or the test would see nothing"


def test_by_audit_events(hostile: Path) -> None:
    *events, ends, heavy = run(hostile)
    assert heavy.split() == ["heavy"], "nothing that fetches is even imported"
    said = ends.split()[1:]
    assert said[-4:] == ["read"] * 4, "of good.zarr, which comes last"
    assert len(said) == 4 * (1 + len(HOSTILE))
    assert "read" not in said[:-4:4], "pixels of the others"
    assert [e for e in events if not e.startswith("open ")] == []
    check_paths(hostile, [event.removeprefix("open ") for event in events])


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here")
def test_by_system_calls(hostile: Path, tmp_path: Path) -> None:
    log = tmp_path / "trace"
    try:
        run(hostile, "strace", "-f", "-qq", "-e", "trace=openat,connect", "-o", str(log))
    except AssertionError as error:
        if "ptrace" in str(error):
            pytest.skip("strace is not allowed here")
        raise
    lines = log.read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if "marker-of-the-test" in line)
    found = [line for line in lines[begin:] if "ENOENT" not in line]
    assert [line for line in found if "connect(" in line and "AF_INET" in line] == []
    paths = [m[1] for line in found if (m := re.search(r'openat\([^"]*"([^"]*)"', line))]
    check_paths(hostile, [path for path in paths if path not in (str(hostile), ".")])
