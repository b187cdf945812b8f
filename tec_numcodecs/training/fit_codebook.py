"""Fit the codebook of band covariances that the spectral transforms of `mini` derive from.

k-means in which a cluster's center is the mean covariance of its crops and the distance is the
ideal rate of a crop under the center's KLT (reverse water-filling at three distortions).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.models.mini.transform import dwt97, klt
from tec_numcodecs.models.mini.transform.quantizer import LEVELS
from tec_numcodecs.training.data import Scene

Float64Array = NDArray[np.float64]

# Share of the samples of a level; the last is the low-pass.
_SHARE = np.array([0.75 / 4**level for level in range(LEVELS)] + [4.0**-LEVELS])
# Distortions (squared DN) and their weights: steps of 900, 300 and 100 DN.
_DISTORTIONS = ((900.0**2 / 12, 2.0), (300.0**2 / 12, 1.0), (100.0**2 / 12, 0.5))


def fit_codebook(scenes: Sequence[Scene], entries: int = 16, seed: int = 0) -> NDArray[np.float32]:
    """Cluster the covariances of all scenes that have every band of their sensor.

    Parameters
    ----------
    scenes : sequence of Scene
        Of one sensor.
    entries : int
        Size of the codebook.
    seed : int
        Of the first centers.

    Returns
    -------
    float32 array (entries, 6, C, C)
        Entry 0 is the mean over everything.
    """
    crops = [(c, w) for s in scenes if len(s.bands) == len(s.sensor.bands) for c, w in tiles(s)]
    covariances = np.stack([_covariances(crop) for crop, _ in crops])  # (P, 6, C, C)
    weights = np.array([weight for _, weight in crops])
    best = min((_cluster(covariances, weights, entries, s) for s in (seed, seed + 1)), key=_first)
    return best[1].astype(np.float32)


def tiles(scene: Scene, size: int = 256) -> list[tuple[NDArray[np.int32], float]]:
    """Crops (1, C, <= size, <= size) of a scene minus its sensor's mean; the weight is shared."""
    mean = np.array([round(scene.sensor.mean[b]) for b in scene.bands], np.int32)[:, None, None]
    height, width = scene.data.shape[2:]
    rows, columns = min(size, height // 8 * 8), min(size, width // 8 * 8)
    found = [
        scene.data[t : t + 1, :, y : y + rows, x : x + columns].astype(np.int32) - mean
        for t in range(scene.data.shape[0])
        for y in range(0, height - rows + 1, rows)
        for x in range(0, width - columns + 1, columns)
    ]
    return [(crop, scene.weight / len(found)) for crop in found]


def _first(pair: tuple[float, Float64Array]) -> float:
    return pair[0]


def _covariances(crop: NDArray[np.int32]) -> Float64Array:
    """Covariances of levels 0 to 4 and the low-pass: (1, C, h, w) -> (6, C, C)."""
    planes = crop[0]
    found = []
    for _ in range(LEVELS):
        planes, detail = dwt97.forward(planes)
        found.append(_second_moment(detail))
    found.append(_second_moment(planes))
    return np.stack(found)


def _second_moment(x: NDArray[np.int32]) -> Float64Array:
    flat = x.reshape(x.shape[0], -1).astype(np.float64)
    moment: Float64Array = flat @ flat.T / flat.shape[1]
    return moment


def _rates(covariances: Float64Array, centers: Float64Array) -> Float64Array:
    """Ideal bits per sample of every crop under every center's KLT: (P, 6, C, C) -> (P, K)."""
    k, levels, c, _ = centers.shape
    rows = klt.eigenvectors(centers.reshape(-1, c, c)).reshape(k, levels, c, c)
    variance = np.einsum("klrc,plcd,klrd->pklr", rows, covariances, rows, optimize=True)
    rate = np.zeros(variance.shape[:2])
    for distortion, weight in _DISTORTIONS:
        bits = np.log2(np.maximum(variance / distortion, 1.0)).sum(axis=3) / 2  # (P, K, 6)
        rate += weight * (bits * _SHARE).sum(axis=2)
    return rate


def _mean(covariances: Float64Array, weights: Float64Array) -> Float64Array:
    """Mean in which bright scenes do not outvote the others: each is divided by its deviation."""
    energy = np.trace(covariances, axis1=2, axis2=3) @ _SHARE  # (P,)
    share = weights / np.sqrt(energy + 1e3)
    mean: Float64Array = np.einsum("p,plcd->lcd", share, covariances)
    return mean / share.sum()


def _cluster(
    covariances: Float64Array, weights: Float64Array, entries: int, seed: int, rounds: int = 10
) -> tuple[float, Float64Array]:
    random = np.random.default_rng(seed)
    whole = _mean(covariances, weights)
    first = random.choice(
        len(weights), min(entries, len(weights)) - 1, replace=False, p=weights / weights.sum()
    )
    centers = np.stack([whole, *covariances[first]])
    for _ in range(rounds):
        rates = _rates(covariances, centers)
        nearest = rates.argmin(axis=1)
        for k in range(1, len(centers)):
            members = nearest == k
            if members.any():
                centers[k] = _mean(covariances[members], weights[members])
            else:  # an empty cluster starts again at the crop that fits worst
                centers[k] = covariances[(rates.min(axis=1) * weights).argmax()]
    cost = float((_rates(covariances, centers).min(axis=1) * weights).sum() / weights.sum())
    return cost, centers
