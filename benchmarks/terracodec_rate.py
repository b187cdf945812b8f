"""What exact 16-bit entropy networks cost in bits against the published float32 ones.

    python -m benchmarks.terracodec_rate elic tt --data DIR --scenes 4

Needs compressai and terracodec, and the val scenes. Both sides get the same seeded weights, scaled
so that latents, means and deviations are as wide as trained ones, the same pixels of real scenes
and the same tables: what differs is the arithmetic of the networks alone. Beside it, what the
float32 likelihoods promise without tables, and the length of our streams. The bits themselves mean
nothing, since nothing is trained: their ratio does.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import scenes
from benchmarks.terracodec_speed import BANDS, imported, upstream
from tec_numcodecs.models.base import Geometry, Rate
from tec_numcodecs.models.terracodec import coders, temporal, windows
from tec_numcodecs.models.terracodec.exact import layers
from tec_numcodecs.sensors import get_sensor


def widened(name: str) -> Any:
    """Return a seeded upstream model whose entropy parameters vary as those of a trained one."""
    model: Any = upstream(name)
    with torch.no_grad():
        if name == "tt":
            network = model.model.entropy_model
            network.mean_head[4].weight.mul_(8)
            network.scale_head[4].weight.mul_(4)
        else:
            for group in model.latent_codec.y.latent_codec.values():
                bias = group.entropy_parameters[4].bias
                bias[len(bias) // 2 :] += 4
    return model


def float_bits(name: str, theirs: Any, ours: Any, x: torch.Tensor) -> tuple[float, float]:
    """Code standardized frames [T, C, H, W] with float32 networks.

    Returns
    -------
    likelihood, tables : float
        Bits by the published likelihoods, and by our tables with the published network's means and
        deviations.
    """
    with torch.inference_mode():
        return (_temporal_bits if name == "tt" else _image_bits)(theirs, ours, x)


def _temporal_bits(theirs: Any, ours: Any, x: torch.Tensor) -> tuple[float, float]:
    network, heads = theirs.model.entropy_model, {"mean_head": [], "scale_head": []}
    hooks = [
        getattr(network, head).register_forward_hook(lambda _, __, out, f=found: f.append(out))
        for head, found in heads.items()
    ]
    likelihood = float(sum(theirs.forward(x[None])[1]))
    for hook in hooks:
        hook.remove()
    y = torch.round(theirs.model.transform.encode(x[None])[0].to(torch.float64))
    bits = 0.0
    for image, mean, scale in zip(y, heads["mean_head"], heads["scale_head"], strict=True):
        center = mean.to(torch.float64)
        rows = ours.context.rows(center, scale.to(torch.float64))
        tokens = windows.cells(image[None], ours.context.cell)
        bits += _cost(ours.tables, tokens - temporal.whole(center), rows)
    return likelihood, bits


def _image_bits(theirs: Any, ours: Any, x: torch.Tensor) -> tuple[float, float]:
    outputs: list[list[torch.Tensor]] = [[] for _ in ours.groups]
    nets = [theirs.latent_codec.y.latent_codec[f"y{k}"] for k in range(len(outputs))]
    hooks = [
        net.entropy_parameters.register_forward_hook(lambda _, __, out, f=found: f.append(out))
        for net, found in zip(nets, outputs, strict=True)
    ]
    y = theirs.g_a(x)
    found = theirs.latent_codec(y)["likelihoods"]
    for hook in hooks:
        hook.remove()
    likelihood = float(sum(-torch.log2(p.to(torch.float64)).sum() for p in _parts(found)))
    z = torch.round(theirs.latent_codec.hyper.h_a(y).to(torch.float64) - ours.median)
    bits = _cost(ours.prior, z, torch.arange(z.shape[1])[:, None, None].expand(z.shape))
    even = (torch.arange(y.shape[2])[:, None] + torch.arange(y.shape[3])) % 2 == 0
    parts = y.to(torch.float64).split([group.channels for group in ours.groups], dim=1)
    for part, passes in zip(parts, outputs, strict=True):
        for out, where in zip(passes, (even, ~even), strict=True):
            mean, scale = out.to(torch.float64).chunk(2, dim=1)
            rows = layers.threshold_index(scale, ours.network.thresholds)
            bits += _cost(ours.gaussian, torch.round(part - mean)[..., where], rows[..., where])
    return likelihood, bits


def _cost(tables: Any, symbols: torch.Tensor, rows: torch.Tensor) -> float:
    whole = symbols.reshape(-1).to(torch.int32).numpy()
    return float(tables.cross_entropy_bits(whole, coders.as_rows(rows)))


def _parts(likelihoods: Any) -> list[torch.Tensor]:
    """Flatten what a nest of latent codecs returns."""
    if isinstance(likelihoods, torch.Tensor):
        return [likelihoods]
    inner = likelihoods.values() if isinstance(likelihoods, dict) else likelihoods
    return [tensor for part in inner for tensor in _parts(part)]


def compare(name: str, cubes: list[scenes.Scene], side: int, directory: Path) -> None:
    """Print the bits of every scene, and the sums."""
    theirs = widened(name)
    _, ours = imported(theirs, directory)
    model: Any = ours
    sums = np.zeros(4)
    for scene in cubes:
        cube = np.ascontiguousarray(scene.data[:2, :, :side, :side], np.int32)
        bands = tuple(range(BANDS))
        geometry = Geometry(cube.shape, get_sensor("sentinel-2-l2a"), bands)  # type: ignore[arg-type]
        x = model.standardizer.forward(cube, geometry)
        likelihood, tables = float_bits(name, theirs, model, x)
        latents = ours.analysis([cube], [geometry], [Rate(0)])
        stream = 8 * len(ours.entropy_encode(latents)[0])
        state = latents[0].state
        parts = state["stages"] if name == "elic" else state["pass"].stages
        bits = sum(part.tables.cross_entropy_bits(part.symbols, part.rows) for part in parts)
        sums += likelihood, tables, bits, stream
        print(
            f"{name} {scene.name}: float32 {likelihood:.0f} by likelihood, {tables:.0f} by tables; "
            f"exact {bits:.0f} by tables, {stream} in the stream",
            flush=True,
        )
    print(
        f"{name}: exact networks cost {100 * (sums[2] / sums[1] - 1):+.3f} % over {len(cubes)} "
        f"scenes; the stream {100 * (sums[3] / sums[0] - 1):+.3f} % over float32 likelihoods"
    )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["elic", "tt"])
    parser.add_argument("--data", type=Path, required=True, help="directory of the val scenes")
    parser.add_argument("--scenes", type=int, default=9, help="how many of them")
    parser.add_argument("--side", type=int, default=128, help="of the crop, a multiple of 64")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cubes = [s for s in scenes.load("val", options.data) if min(s.data.shape[2:]) >= options.side]
    for name in options.models:
        with tempfile.TemporaryDirectory() as directory:
            compare(name, cubes[: options.scenes], options.side, Path(directory))


if __name__ == "__main__":
    main()
