"""The exact operations and the temporal network once more, in NumPy and integers alone.

Written from the rules, not from the torch code: products are int64, scales come from frexp,
interpolation is done on Python-sized integers. If both agree bit for bit, the rules decide the
result and not a library.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.models.terracodec.exact import tables

Array = NDArray[np.float64]
Frozen = Mapping[str, NDArray[np.generic]]


def quantize(x: Array, limit: int) -> tuple[NDArray[np.int64], Array]:
    """Smallest power of two, at least 2**-60, that brings the largest of a row to the limit."""
    largest = np.abs(x).max(axis=-1, keepdims=True)
    exponent = np.full(largest.shape, -60)
    for _ in range(200):
        too_small = largest > limit * np.ldexp(1.0, exponent)
        if not too_small.any():
            break
        exponent = exponent + too_small
    scale = np.ldexp(1.0, exponent)
    return np.rint(x / scale).astype(np.int64), scale


def linear(frozen: Frozen, name: str, x: Array, bias: str | None = None) -> Array:
    weight = frozen[f"{name}.integers"].astype(np.int64)
    weight = weight.reshape(len(weight), -1)
    scale = np.ldexp(1.0, frozen[f"{name}.exponent"].astype(np.int64))
    q, row_scale = quantize(x, 32639)
    out = (q @ weight.T).astype(np.float64) * row_scale * scale
    return out + frozen[bias or f"{name}.bias"].astype(np.float64)


def conv(frozen: Frozen, name: str, x: Array) -> Array:
    """[C, H, W] to [N, H, W]."""
    kernel = frozen[f"{name}.integers"].shape[-1]
    margin = kernel // 2
    padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin)))
    height, width = x.shape[1:]
    rows = np.stack([
        padded[:, i : i + kernel, j : j + kernel].ravel()
        for i in range(height) for j in range(width)
    ])  # fmt: skip
    return linear(frozen, name, rows).T.reshape(-1, height, width)


def conv_transpose(frozen: Frozen, name: str, x: Array) -> Array:
    """[C, H, W] to [N, 2 H, 2 W], output pixel by output pixel."""
    _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    out = []
    for i in range(2 * height):
        for j in range(2 * width):
            row, column = i % 2, j % 2
            top, left = i // 2 + row, j // 2 + column
            taps = padded[:, top : top + 3 - row, left : left + 3 - column]
            phase = f"{name}.{2 * row + column}"
            out.append(linear(frozen, phase, taps.reshape(1, -1), f"{name}.bias")[0])
    return np.array(out).T.reshape(-1, 2 * height, 2 * width)


def layer_norm(frozen: Frozen, name: str, x: Array, epsilon: float = 1e-6) -> Array:
    n = x.shape[-1]
    q, scale = quantize(x, 32639)
    total = q.sum(axis=-1, keepdims=True)
    spread = n * (q * q).sum(axis=-1, keepdims=True) - total * total
    inverse = 1.0 / scale
    root = np.sqrt(spread.astype(np.float64) + (inverse * inverse) * (float(n) * n * epsilon))
    normal = (n * q - total).astype(np.float64) / root
    weight, bias = (frozen[f"{name}.{p}"].astype(np.float64) for p in ("weight", "bias"))
    return normal * weight + bias


def _interpolate(position: Array, table: NDArray[np.int64]) -> Array:
    """Linear interpolation, one correctly rounded product and one correctly rounded sum."""
    index = np.floor(position).astype(np.int64)
    after = table[np.minimum(index + 1, len(table) - 1)]
    step = (after - table[index]).astype(np.float64) * (position - index)
    found = table[index].astype(np.float64) + step
    for k in range(0, position.size, 1 + position.size // 8):  # spot checks by exact arithmetic
        value, i = Fraction(float(position.flat[k])), int(index.flat[k])
        rise = Fraction(int(after.flat[k]) - int(table[i]))
        exact_step = float(rise * (value - i))
        assert found.flat[k] == float(Fraction(int(table[i])) + Fraction(exact_step))
    return found


def gelu(x: Array) -> Array:
    position = np.minimum(np.abs(x) * 512.0, 4096.0)
    dip = _interpolate(position, tables.gelu_dip())
    return np.maximum(x, 0.0) - dip * 2.0**-30


def leaky_relu(x: Array) -> Array:
    return np.where(x > 0, x, x * 0.01)


def softmax(scores: Array, hidden: NDArray[np.bool_] | None) -> Array:
    hidden = np.zeros(scores.shape, bool) if hidden is None else hidden
    visible = np.broadcast_to(~hidden, scores.shape)
    top = np.where(visible, scores, -np.inf).max(axis=-1, keepdims=True)
    position = np.minimum((top - scores) * (94548 / 65536 * 256), 31 * 256.0)
    position = np.where(visible, position, 31 * 256.0)
    power = np.floor(_interpolate(position, tables.exp2_falling())).astype(np.int64)
    power = np.where(visible, power, 0)
    return power.astype(np.float64) / power.sum(axis=-1, keepdims=True).astype(np.float64)


def attention(q: Array, k: Array, v: Array, hidden: NDArray[np.bool_] | None) -> Array:
    """One head: [n, dim], [m, dim], [m, dim]."""
    (qi, qs), (ki, ks), (vi, vs) = quantize(q, 32639), quantize(k, 8127), quantize(v, 8127)
    scores = (qi @ ki.T).astype(np.float64) * qs * ks.T
    weights = softmax(scores * (1.0 / np.sqrt(q.shape[-1])), hidden)
    wi, ws = quantize(weights * vs.T, 32639)
    return (wi @ vi).astype(np.float64) * ws


def multi_head(
    frozen: Frozen, name: str, x: Array, memory: Array, hidden: NDArray[np.bool_] | None = None
) -> Array:
    """[n, d] looking at [m, d], 16 heads."""
    q, k, v = (
        linear(frozen, f"{name}.{p}", t).reshape(len(t), 16, -1)
        for p, t in (("q", x), ("k", memory), ("v", memory))
    )
    heads = [attention(q[:, h], k[:, h], v[:, h], hidden) for h in range(16)]
    return linear(frozen, f"{name}.proj", np.stack(heads, axis=1).reshape(len(x), -1))


def perceptron(frozen: Frozen, name: str, x: Array) -> Array:
    return linear(frozen, f"{name}.fc2", gelu(linear(frozen, f"{name}.fc1", x)))


def layer(
    frozen: Frozen, name: str, x: Array, memory: Array | None = None,
    hidden: NDArray[np.bool_] | None = None,
) -> Array:  # fmt: skip
    h = layer_norm(frozen, f"{name}.norm1a", x)
    x = x + multi_head(frozen, f"{name}.self_attention", h, h, hidden)
    x = x + perceptron(frozen, f"{name}.mlp1", layer_norm(frozen, f"{name}.norm1b", x))
    h = layer_norm(frozen, f"{name}.norm2a", x)
    x = x + multi_head(frozen, f"{name}.cross_attention", h, h if memory is None else memory)
    return x + perceptron(frozen, f"{name}.mlp2", layer_norm(frozen, f"{name}.norm2b", x))


def stack(frozen: Frozen, name: str, x: Array, **context: NDArray[np.generic]) -> Array:
    i = 0
    while f"{name}.{i}.norm1a.weight" in frozen:
        x = layer(frozen, f"{name}.{i}", x, **context)  # type: ignore[arg-type]
        i += 1
    return x


def head(frozen: Frozen, name: str, x: Array) -> Array:
    for i in (0, 2, 4):
        x = linear(frozen, f"{name}.{i}", x if i == 0 else leaky_relu(x))
    return x


def embed(frozen: Frozen, name: str, latents: Array) -> Array:
    return layer_norm(frozen, "norm", linear(frozen, name, latents / 35.0))


def expected_parameters(frozen: Frozen, latents: Array) -> list[tuple[Array, Array]]:
    """Means and scales [16, M] of each frame of one 4 x 4 latent window [T, M, 4, 4] of TT."""
    channels = latents.shape[1]
    reflect = np.abs(np.arange(-2, 6))
    reflect = np.where(reflect > 3, 6 - reflect, reflect)
    pad = frozen["pad"].astype(np.float64).reshape(channels, 1, 1)
    images = [np.broadcast_to(pad, (channels, 4, 4)), *latents]
    contexts = []
    for image in images:
        tokens = image[:, reflect][:, :, reflect].reshape(channels, 64).T
        position = frozen["enc_position_sep"][0].astype(np.float64)
        contexts.append(
            stack(frozen, "encoder_sep", embed(frozen, "encoder_embedding", tokens) + position)
        )
    out = []
    hidden = np.triu(np.ones((16, 16), bool), 1)
    for t, image in enumerate(latents):
        older, newer = (0, 0) if t == 0 else (max(t - 1, 1), t)
        joint = np.concatenate((contexts[older], contexts[newer]))
        joint = joint + frozen["enc_position_joint"][0].astype(np.float64)
        memory = stack(frozen, "encoder_joint", joint)
        tokens = image.reshape(channels, 16).T
        inputs = np.concatenate((frozen["zero"].astype(np.float64)[None], tokens[:-1]))
        x = embed(frozen, "decoder_embedding", inputs)
        x = x + frozen["dec_position"][0].astype(np.float64)
        z = stack(frozen, "decoder", x, memory=memory, hidden=hidden)
        out.append((head(frozen, "mean_head", z), head(frozen, "scale_head", z)))
    return out


# --- exact synthesis ---------------------------------------------------------------------------


def freeze(weight: Array, bias: Array) -> Frozen:
    """A layer "w" from floats: weight [N, ...]."""
    q, scale = quantize(weight.reshape(len(weight), -1), 8127)
    _, exponent = np.frexp(scale[:, 0])
    return {
        "w.integers": q.reshape(weight.shape).astype(np.int16),
        "w.exponent": exponent - 1,
        "w.bias": bias,
    }


def inverse_gdn(weights: Frozen, x: Array) -> Array:
    """x sqrt(beta + gamma x^2) of [C, H, W], from the parameters as they are stored."""
    beta, gamma = (weights[k].astype(np.float64) for k in ("beta", "gamma"))
    pedestal = 2.0**-36
    beta = np.maximum(beta, np.float64(np.float32((1e-6 + pedestal) ** 0.5))) ** 2 - pedestal
    gamma = np.maximum(gamma, 2.0**-18) ** 2 - pedestal
    frozen = freeze(gamma, beta)
    norm = linear(frozen, "w", (x * x).reshape(len(x), -1).T).T.reshape(x.shape)
    return np.asarray(x * np.sqrt(norm))


def deconv(weight: Array, bias: Array, x: Array) -> Array:
    """A transposed convolution, weight [C, N, 5, 5], of [C, H, W] to [N, 2 H, 2 W]."""
    frozen: dict[str, NDArray[np.generic]] = {"w.bias": bias}
    for row in (0, 1):
        for column in (0, 1):
            # Output 2 i + row takes kernel rows 4, 2, 0 or 3, 1: every other one from the end.
            taps = weight[:, :, ::-1, ::-1][:, :, row::2, column::2].transpose(1, 0, 2, 3)
            part = freeze(np.ascontiguousarray(taps), bias)
            frozen |= {k.replace("w", f"w.{2 * row + column}"): v for k, v in part.items()}
    return conv_transpose(frozen, "w", x)


def fp_synthesis(weights: Frozen, y: Array) -> Array:
    """Standardized pixels of TEC-FP from latents [M, h, w]."""
    x = y
    for i in (0, 2, 4, 6):
        x = deconv(*(weights[f"g_s.{i}.{p}"].astype(np.float64) for p in ("weight", "bias")), x)
        if i < 6:
            names = ("beta", "gamma")
            x = inverse_gdn({p: weights[f"g_s.{i + 1}.{p}"] for p in names}, x)
    return x
