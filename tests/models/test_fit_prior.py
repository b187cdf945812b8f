"""The script behind the bundled weights of mini fp, on scenes small enough to wait for."""

import numpy as np
import pytest
import safetensors.numpy

from cubes import scene
from tec_numcodecs.models.base import Geometry, Rate
from tec_numcodecs.models.mini.fp import MiniFP
from tec_numcodecs.training import fit_prior
from tec_numcodecs.training.data import Scene
from tec_numcodecs.training.fit_codebook import fit_codebook, tiles
from tec_numcodecs.weights.local_store import locate, resolve

WEIGHTS = resolve("mini", "fp")


def scenes(count=3, size=40):
    from tec_numcodecs.sensors import get_sensor

    sensor = get_sensor("sentinel-2-l2a")
    every = tuple(range(12))
    return [Scene(f"s{i}", sensor, every, scene((1, 12, size, size), i)) for i in range(count)]


def test_tiles_share_the_weight_of_their_scene():
    (found,) = scenes(1, 300)
    crops = tiles(found)
    assert sum(weight for _, weight in crops) == pytest.approx(found.weight)
    assert all(crop.shape == (1, 12, 256, 256) for crop, _ in crops)


def test_a_codebook_begins_with_the_mean():
    book = fit_codebook(scenes(), entries=2)
    assert book.shape == (2, 6, 12, 12)
    np.testing.assert_allclose(book, book.swapaxes(2, 3), rtol=1e-5)
    values = np.linalg.eigvalsh(book[0].astype(float))  # rounded to float32
    assert (values > -1e-5 * values.max(axis=-1, keepdims=True)).all()


@pytest.mark.slow
def test_a_fit_from_earlier_weights_gives_a_model_that_decodes():
    lines = []
    start = safetensors.numpy.load_file(locate(WEIGHTS))
    arrays = fit_prior.fit(scenes(), lines.append, start)
    assert lines
    model = MiniFP(arrays)
    found = scenes(1)[0]
    cube = found.data.astype(np.int32)
    geometry = Geometry(cube.shape, found.sensor, found.bands)
    (latents,) = model.analysis([cube], [geometry], [Rate(0)])
    (payload,) = model.entropy_encode([latents])
    decoded = model.entropy_decode([payload], [geometry], [Rate(0)])
    np.testing.assert_array_equal(model.synthesis(decoded)[0], cube)
