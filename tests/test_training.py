"""Training: the float twin agrees with what is frozen, runs resume, crops are as they should be."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tec_numcodecs.errors import InvalidInput, WeightsError
from tec_numcodecs.models.base import Geometry, Rate
from tec_numcodecs.models.mini import lifting
from tec_numcodecs.models.mini.context import MiniElic
from tec_numcodecs.sensors import get_sensor
from tec_numcodecs.training import augment, data, export, loop, wavelet
from tec_numcodecs.training.batch import collate, simulate
from tec_numcodecs.training.calibrate import fit_offsets
from tec_numcodecs.training.codebooks import read_codebooks
from tec_numcodecs.training.likelihood import Mixture, clamp, snap
from tec_numcodecs.training.network import ContextNet
from tec_numcodecs.training.objective import Coder, Quantiser, rate_weight
from tests.cubes import scene

ROOT = Path(__file__).parents[1]
L2A = get_sensor("sentinel-2-l2a")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Steps on tiny crops are nothing but waiting for each other with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def spectra() -> dict[str, wavelet.Spectra]:
    books = read_codebooks()
    return {name: wavelet.Spectra(get_sensor(name), book, n) for name, (n, book) in books.items()}


def place(t=3, size=80, seed=0, bands=tuple(range(12))) -> data.Scene:
    return data.Scene("x", L2A, bands, scene((t, len(bands), size, size), seed))


def test_the_reading_side_never_imports_training() -> None:
    for path in (ROOT / "tec_numcodecs").rglob("*.py"):
        if "training" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{a.name}" for a in node.names)]
            assert not any(name.startswith("tec_numcodecs.training") for name in names), path


def test_float_wavelet_is_the_integer_one_scaled() -> None:
    planes = np.random.default_rng(0).integers(-9000, 9000, (3, 32, 48)).astype(np.int32)
    low, detail = lifting.forward(planes)
    float_low, float_detail = wavelet.forward(torch.from_numpy(planes).float())
    gain = lifting.GAIN
    np.testing.assert_allclose(float_low / gain**2, low, atol=4)
    scale = np.array([1, 1, gain**-2])[:, None, None]
    np.testing.assert_allclose(float_detail.numpy() / scale, detail, atol=4)
    back = wavelet.inverse(float_low, float_detail)
    np.testing.assert_allclose(back, planes, atol=0.05)


def test_simulated_reference_is_the_image_with_noise_of_the_step(spectra) -> None:
    crops = [augment.Sampler([place()], 64, 1).draw() for _ in range(2)]
    batch = collate(crops, [80, 80], spectra, 0.0)
    reference = simulate(batch, 0.5)
    image = wavelet.inverse(reference.planes[0], reference.bands[0])
    for i, crop in enumerate(crops):
        mean = np.array([round(L2A.mean[b]) for b in crop.bands])[:, None, None]
        error = image[i, : len(crop.bands)].numpy() - (crop.pixels[-1] - mean)
        assert 0.3 < error.std() / (2 ** (80 / 16) / 12**0.5) < 1.3


def test_frozen_networks_cost_what_the_rounded_ones_promise(spectra) -> None:
    """Untrained but scrambled weights: code lengths of the integer model match the float twin's."""
    torch.manual_seed(3)
    net, mixture = ContextNet(), Mixture()
    with torch.no_grad():
        for value in net.parameters():
            value.add_(torch.randn_like(value) * 0.02)
    arrays = export.freeze(net, mixture, read_codebooks())
    model = MiniElic(arrays)
    pixels = scene((1, 12, 64, 64), 5)
    crop = augment.Crop(place(), tuple(range(12)), pixels.astype(np.float32))
    for index in (100, 140):
        where = Geometry((1, 12, 64, 64), L2A, tuple(range(12)))
        latents = model.analysis([pixels.astype(np.int32)], [where], [Rate(index)])
        (payload,) = model.entropy_encode(latents)
        with torch.no_grad():
            batch = collate([crop], [index], spectra, 0.0)
            coded = Coder(net, mixture, fake=True).code(batch, Quantiser(0.5, 0.13))
        promised = float(torch.stack(coded.bits).sum())
        assert 8 * len(payload) == pytest.approx(promised, rel=0.03)


def test_offsets_bring_the_reconstruction_closer() -> None:
    torch.manual_seed(0)
    arrays = export.freeze(ContextNet(), Mixture(), read_codebooks())
    crops = [scene((1, 12, 64, 64), seed).astype(np.int32) for seed in range(4)]
    where = Geometry((1, 12, 64, 64), L2A, tuple(range(12)))
    samples = [(crop, where, Rate(120)) for crop in crops]
    measured = arrays | {"offsets": fit_offsets(arrays, arrays["offsets"], samples)}
    fresh = scene((1, 12, 64, 64), 9).astype(np.int32)

    def error(weights) -> float:
        model = MiniElic(weights)
        (pixels,) = model.synthesis(model.analysis([fresh], [where], [Rate(120)]))
        return float(((pixels - fresh) ** 2).mean())

    assert error(measured) < error(arrays | {"offsets": 0 * arrays["offsets"]})


def test_mixture_sums_to_one() -> None:
    mixture = Mixture()
    q = torch.arange(-4000, 4001, dtype=torch.float32)
    for mean, scale, shape in ((0.0, -2.0, 0.0), (0.4, 1.0, 0.5), (-7.7, 3.0, 1.0)):
        parts = (torch.full_like(q, x) for x in (mean, scale, shape))
        total = torch.exp2(-mixture.bits(q, *parts)).sum().detach()
        assert float(total) == pytest.approx(1, abs=1e-3)


def test_clamp_lets_gradients_back_in_only() -> None:
    x = torch.tensor([-2.0, -2.0, 0.5, 3.0, 3.0], requires_grad=True)
    (clamp(x, 0.0, 1.0) * torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0])).sum().backward()
    assert x.grad.tolist() == [0.0, -1.0, 1.0, 1.0, 0.0]
    assert snap(torch.tensor([0.24, 0.26, -0.26]), 2.0).tolist() == [0.0, 0.5, -0.5]


def test_crops_are_whole_numbers_of_the_bands_they_name() -> None:
    sampler = augment.Sampler([place(t=2), place(t=1, size=50, seed=1)], 64, 0)
    for _ in range(30):
        one, two = sampler.draw(), sampler.draw_pair()
        for crop, dates in ((one, 1), (two, 2)):
            assert crop.pixels.shape == (dates, len(crop.bands), 64, 64)
            assert np.array_equal(crop.pixels, np.rint(crop.pixels))
            assert crop.pixels.min() >= 0
            assert list(crop.bands) == sorted(set(crop.bands))


def test_a_run_resumes_where_it_was(tmp_path, spectra) -> None:
    def trainer() -> loop.Trainer:
        torch.manual_seed(0)
        settings = loop.Settings(minutes=10, batch=2, referenced=0.5, warmup=1)
        sampler = augment.Sampler([place()], 32, 0)
        return loop.Trainer(ContextNet(), Mixture(), sampler, spectra, settings, tmp_path)

    first = trainer()
    assert not first.resume()
    losses = [first.step(progress) for progress in (0.0, 0.5, 0.9)]
    assert all(np.isfinite(losses))
    first.save()
    second = trainer()
    assert second.resume()
    assert second.steps == 3
    for name, value in first.averaged.items():
        assert torch.equal(value, second.averaged[name])
    kept = torch.load(tmp_path / "last.pt", weights_only=True)["model"]
    del kept["net.levels.0.low.weight"]
    with pytest.raises(WeightsError, match=r"levels\.0\.low\.weight"):
        loop.load_state(second.net, second.mixture, kept)


def test_training_lowers_the_loss(spectra) -> None:
    torch.manual_seed(0)
    settings = loop.Settings(minutes=10, batch=2, warmup=1, rate=2e-3)
    sampler = augment.Sampler([place()], 32, 0)
    run = loop.Trainer(ContextNet(), Mixture(), sampler, spectra, settings, Path("unused"))
    crops = [augment.Crop(place(), tuple(range(12)), place().data[:1, :, :64, :64].astype("f4"))]
    batch = collate(crops, [130], spectra, 0.0)

    def loss() -> float:
        with torch.no_grad():
            coded = Coder(run.net, run.mixture).code(batch, Quantiser(0.4))
            return float((torch.stack(coded.bits).sum(0) * rate_weight(batch.rate)).mean())

    before = loss()
    for _ in range(12):
        run.step(0.1)
    assert loss() < 0.9 * before


def test_a_directory_needs_its_manifest(tmp_path) -> None:
    with pytest.raises(InvalidInput, match=r"MANIFEST\.tsv"):
        data.read_directory(tmp_path, "train")
    shuffled = ["B04", "B02", "B08"]
    array = scene((1, 3, 40, 40))
    np.savez(tmp_path / "a.npz", data=array)
    rows = ["file\tlevel\tbands\tsplit", f"a.npz\tL2A\t{','.join(shuffled)}\ttrain"]
    (tmp_path / "MANIFEST.tsv").write_text("\n".join(rows))
    (found,) = data.read_directory(tmp_path, "train")
    assert found.bands == (1, 3, 7)
    np.testing.assert_array_equal(found.data, array[:, [1, 0, 2]])
    with pytest.raises(InvalidInput, match="val"):
        data.read_directory(tmp_path, "val")


@pytest.mark.slow
def test_the_command_line_trains_on_a_cube_of_ones_own(tmp_path) -> None:
    import xarray as xr

    bands = {f"B0{k}": (("time", "y", "x"), scene((2, 1, 140, 140), k)[:, 0]) for k in (2, 3, 4, 8)}
    xr.Dataset(bands).to_zarr(tmp_path / "cube.zarr")
    command = [sys.executable, "-m", "tec_numcodecs.training", "tt", "--minutes", "0.02"]
    command += ["--data", str(tmp_path / "cube.zarr"), "--out", str(tmp_path / "run")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert all(np.isfinite(json.loads(lines[-1])["val"]))
    assert (tmp_path / "run" / "last.pt").is_file()
