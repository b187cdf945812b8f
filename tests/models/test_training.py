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

from cubes import scene
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.base import Geometry, Rate
from tec_numcodecs.models.mini.elic import MiniElic
from tec_numcodecs.models.mini.flextec import MiniFlex
from tec_numcodecs.models.mini.tt import MiniTT
from tec_numcodecs.sensors import get_sensor
from tec_numcodecs.training import data, freeze
from tec_numcodecs.training.calibrate import fit_offsets
from tec_numcodecs.training.calibrate_passes import fit_pass_offsets
from tec_numcodecs.training.dataset import augment
from tec_numcodecs.training.dataset.sample_files import Source, read_shards, write_shard
from tec_numcodecs.training.dataset.samples import gather
from tec_numcodecs.training.fit_networks import Fit, Settings, tensors
from tec_numcodecs.training.likelihood import Mixture, clamp, snap

ROOT = Path(__file__).parents[2]
L2A = get_sensor("sentinel-2-l2a")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Steps on tiny crops are nothing but waiting for each other with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


def scrambled(seed: int = 3) -> dict[str, np.ndarray]:
    """Weights that nobody trained: the linear rule, and noise."""
    torch.manual_seed(seed)
    arrays = freeze.untrained()
    for model, prefix in freeze.PREFIX.items():
        family = freeze.make_family(model, 8)
        family.thaw(prefix, arrays)
        with torch.no_grad():
            for name, value in family.named_parameters():
                if not name.startswith("mixture"):
                    value.add_(torch.randn_like(value) * 0.02)
        arrays |= family.freeze(prefix)
    return arrays


def crop(dates: int = 1, seed: int = 5) -> augment.Crop:
    pixels = scene((dates, 12, 64, 64), seed).astype(np.float32)
    return augment.Crop(place(), tuple(range(12)), pixels)


@pytest.mark.parametrize("kind", [MiniElic, MiniTT, MiniFlex], ids=lambda kind: kind.name)
def test_frozen_networks_cost_what_the_rounded_ones_promise(kind) -> None:
    """Code lengths of the integer model match the float twin's on the very samples."""
    arrays = scrambled()
    model = kind(arrays)
    source = Source(model, np.random.default_rng(0))
    family = freeze.make_family(kind.name, 8)
    family.thaw(freeze.PREFIX[kind.name], arrays)
    family.set_fake(True)
    own = crop(2 if kind is MiniTT else 1)
    promised = 0.0
    samples = gather(source.notes(own, 120))
    for name, part in samples.items():
        with torch.no_grad():
            bits = family.bits(name, *tensors(part, np.arange(len(part.q))))
        total = float(part.weight.sum())
        promised += float((bits * torch.from_numpy(part.weight)).sum()) / total * len(part.q)
    spent = 0.0
    cubes = own.pixels.astype(np.int32)
    where = Geometry(cubes.shape, L2A, own.bands)
    (latents,) = model.analysis([cubes], [where], [Rate(120)])
    (payload,) = model.entropy_encode([latents])
    if kind is MiniTT:  # the first date has no reference
        first = Geometry((1, *cubes.shape[1:]), L2A, own.bands)
        (alone,) = model.analysis([cubes[:1]], [first], [Rate(120)])
        spent -= 8 * len(model.entropy_encode([alone])[0])
    spent += 8 * len(payload)
    # Flags, shifts and the low-pass are not in the samples; thinning them out adds noise.
    assert 0.8 * spent < promised < 1.02 * spent


def test_freezing_and_thawing_change_nothing() -> None:
    arrays = scrambled()
    for model, prefix in freeze.PREFIX.items():
        family = freeze.make_family(model, 8)
        family.thaw(prefix, arrays)
        for name, value in family.freeze(prefix).items():
            # Rates lie on lines between knots, and those are whole numbers now.
            apart = 1 if name.endswith(".rate") else 0
            np.testing.assert_allclose(value, arrays[name], rtol=0, atol=apart, err_msg=name)


def test_networks_that_see_a_reference_begin_as_those_that_do_not() -> None:
    arrays = scrambled()
    elic = freeze.make_family("elic", 8)
    elic.thaw("elic", arrays)
    tt = freeze.make_family("tt", 8)
    tt.start_from(elic)
    samples = gather(Source(MiniTT(arrays), np.random.default_rng(0)).notes(crop(2), 130))
    part = samples["1_0"]
    index = np.arange(len(part.q))
    narrow, *rest = tensors(part, index)
    plain = torch.cat((narrow[:, :46], narrow[:, -5:]), 1)
    with torch.no_grad():
        a = tt.bits("1_0", narrow, *rest)
        b = elic.bits("1_0", plain, *rest)
    torch.testing.assert_close(a, b)


def test_offsets_bring_the_reconstruction_closer() -> None:
    arrays = freeze.untrained()
    crops = [scene((1, 12, 64, 64), seed).astype(np.int32) for seed in range(4)]
    where = Geometry((1, 12, 64, 64), L2A, tuple(range(12)))
    samples = [(pixels, where, Rate(120)) for pixels in crops]
    measured = arrays | fit_offsets(arrays, arrays["offsets"], samples)
    fresh = scene((1, 12, 64, 64), 9).astype(np.int32)

    def error(weights) -> float:
        model = MiniElic(weights)
        (pixels,) = model.synthesis(model.analysis([fresh], [where], [Rate(120)]))
        return float(((pixels - fresh) ** 2).mean())

    assert error(measured) < error(arrays | {"offsets": 0 * arrays["offsets"]})


def test_offsets_of_passes_bring_every_pass_closer() -> None:
    arrays = freeze.untrained()
    crops = [scene((1, 12, 64, 64), seed).astype(np.int32) for seed in range(4)]
    where = Geometry((1, 12, 64, 64), L2A, tuple(range(12)))
    measured = arrays | fit_pass_offsets(arrays, [(c, where, Rate(120)) for c in crops])
    names = ("first", "zeros", "digits")
    none = {f"flex.offsets.{name}": 0 * arrays[f"flex.offsets.{name}"] for name in names}
    fresh = scene((1, 12, 64, 64), 9).astype(np.int32)

    def error(weights, quality) -> float:
        model = MiniFlex(weights)
        (pixels,) = model.synthesis(model.analysis([fresh], [where], [Rate(120, quality)]))
        return float(((pixels - fresh) ** 2).mean())

    for quality in (4, 8, 12, 16):
        assert error(measured, quality) < error(arrays | none, quality)


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


@pytest.fixture(scope="module")
def samples():
    source = Source(MiniElic(freeze.untrained()), np.random.default_rng(0), guess=True)
    return gather([note for rate in (110, 140) for note in source.notes(crop(), rate)])


def test_shards_come_back(tmp_path, samples) -> None:
    write_shard(tmp_path / "a.npz", samples)
    write_shard(tmp_path / "b.npz", samples)
    found = read_shards([tmp_path / "a.npz", tmp_path / "b.npz"], 10**9)
    for name, part in samples.items():
        np.testing.assert_array_equal(found[name].q, np.tile(part.q, 2))
        np.testing.assert_array_equal(found[name].features[: len(part.q)], part.features)
    limited = read_shards([tmp_path / "a.npz", tmp_path / "b.npz"], 1)
    assert len(limited["0_0"].q) == len(samples["0_0"].q)


def test_a_run_resumes_where_it_was(tmp_path, samples) -> None:
    def run() -> Fit:
        torch.manual_seed(0)
        settings = Settings(minutes=10, batch=64, warmup=1)
        return Fit(freeze.make_family("elic", 8), samples, samples, settings, tmp_path)

    first = run()
    assert not first.resume()
    losses = [first.step(progress) for progress in (0.0, 0.5, 0.9)]
    assert all(np.isfinite(losses))
    first.save()
    second = run()
    assert second.resume()
    assert second.steps == 3
    for name, value in first.averaged.items():
        assert torch.equal(value, second.averaged[name])


def test_fitting_lowers_the_cost(tmp_path, samples) -> None:
    torch.manual_seed(0)
    settings = Settings(minutes=10, batch=512, warmup=1, rate=5e-3, average=0.5)
    fit = Fit(freeze.make_family("elic", 16), samples, samples, settings, tmp_path)
    before = fit.validate()["val"]
    for _ in range(40):
        fit.step(0.1)
    assert fit.validate()["val"] < 0.9 * before


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
    command = [sys.executable, "-m", "tec_numcodecs.training", "elic", "--minutes", "0.05"]
    command += ["--sample-minutes", "0.2", "--size", "96", "--crops", "2", "--width", "8"]
    command += ["--start", "nothing", "--data", str(tmp_path / "cube.zarr")]
    command += ["--out", str(tmp_path / "run")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert np.isfinite(json.loads(lines[-1])["val"])
    assert (tmp_path / "run" / "weights.safetensors").is_file()
