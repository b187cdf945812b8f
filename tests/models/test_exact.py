"""Exact operations: against NumPy on integers, against their float meaning, and against cuts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import exact_numpy as reference
from tec_numcodecs import native as _accel
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.terracodec.exact import integer_gemm, layers, tables

# Every magnitude that a double has: zeros, subnormals, rows that mix 1e-300 with 1e+30.
VALUES = st.one_of(
    st.floats(-1e30, 1e30),
    st.floats(-4.0, 4.0),
    st.sampled_from([0.0, -0.0, 5e-324, -2.2e-308, 1e-300, 2.0**-60, 32639.0, 32640.0, 65279.0]),
)
ROWS = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=VALUES)


def seeded(*shape: int, seed: int = 0, spread: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(shape, generator=generator, dtype=torch.float64)


def frozen_linear(name: str, layer: layers.Linear) -> dict[str, np.ndarray]:
    _, exponent = np.frexp(layer.matrix.scale.numpy())
    return {
        f"{name}.integers": layer.matrix.integers().numpy(),
        f"{name}.exponent": exponent - 1,
        f"{name}.bias": layer.bias.numpy(),
    }


@pytest.fixture
def auto_carrier() -> object:
    yield
    integer_gemm.set_carrier("auto")


def frozen_taps(
    name: str, layer: layers.Linear, *, channels: int, kernel: tuple[int, int] | None = None
) -> dict[str, np.ndarray]:
    """Kernels as files have them, [N, C, kernel rows, kernel columns]."""
    arrays = frozen_linear(name, layer)
    integers = arrays[f"{name}.integers"]
    side = round((integers.shape[1] / channels) ** 0.5)
    rows, columns = kernel or (side, side)
    taps = integers.reshape(-1, rows, columns, channels).transpose(0, 3, 1, 2)
    return arrays | {f"{name}.integers": taps}


# --- scales ------------------------------------------------------------------------------------


@given(ROWS, st.sampled_from([layers.LEFT_LIMIT, layers.RIGHT_LIMIT]))
def test_quantize_is_the_rule(rows: np.ndarray, limit: int) -> None:
    integers, scale = layers.quantize(torch.from_numpy(rows), limit)
    expected, expected_scale = reference.quantize(rows, limit)
    assert np.array_equal(scale.numpy(), expected_scale)
    assert np.array_equal(integers.numpy(), expected)
    assert integers.abs().max() <= limit


@given(ROWS)
def test_quantize_loses_half_a_step_at_most(rows: np.ndarray) -> None:
    integers, scale = layers.quantize(torch.from_numpy(rows))
    assert bool(((integers * scale).sub(torch.from_numpy(rows)).abs() <= scale / 2).all())


@given(st.integers(-1022, 1023))
def test_power_of_two(exponent: int) -> None:
    assert layers.power_of_two(torch.tensor(exponent)).item() == 2.0**exponent


# --- operations against NumPy ------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "inner", "outer"), [(1, 1, 1), (5, 7, 3), (33, 300, 140)])
def test_linear(rows: int, inner: int, outer: int) -> None:
    layer = layers.Linear.frozen(seeded(outer, inner).float(), seeded(outer, seed=1).float())
    x = seeded(rows, inner, seed=2, spread=5.0)
    expected = reference.linear(frozen_linear("w", layer), "w", x.numpy())
    assert np.array_equal(layer(x).numpy(), expected)


def test_linear_is_near_its_float_layer() -> None:
    weight, bias, x = seeded(64, 256), seeded(64, seed=1), seeded(20, 256, seed=2)
    found = layers.Linear.frozen(weight.float(), bias.float())(x)
    expected = x @ weight.T + bias
    assert (found - expected).square().mean().sqrt() < 5e-4 * expected.square().mean().sqrt()


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_conv(kernel: int) -> None:
    weight, bias = seeded(4, 3, kernel, kernel).float(), seeded(4, seed=1).float()
    layer, x = layers.Conv.frozen(weight, bias), seeded(2, 3, 6, 5, seed=2)
    arrays = frozen_taps("w", layer.linear, channels=3)
    for found, image in zip(layer(x), x, strict=True):
        assert np.array_equal(found.numpy(), reference.conv(arrays, "w", image.numpy()))
    expected = torch.nn.functional.conv2d(x, weight.double(), bias.double(), padding=kernel // 2)
    assert (layer(x) - expected).abs().max() < 5e-3


def test_conv_transpose() -> None:
    weight, bias = seeded(3, 4, 5, 5).float(), seeded(4, seed=1).float()
    layer, x = layers.ConvTranspose.frozen(weight, bias), seeded(2, 3, 3, 4, seed=2)
    arrays = {}
    for phase, linear in enumerate(layer.phases):
        rows, columns = 3 - phase // 2, 3 - phase % 2
        arrays |= frozen_taps(f"w.{phase}", linear, channels=3, kernel=(rows, columns))
    arrays["w.bias"] = layer.phases[0].bias.numpy()
    for found, image in zip(layer(x), x, strict=True):
        assert np.array_equal(found.numpy(), reference.conv_transpose(arrays, "w", image.numpy()))
    expected = torch.nn.functional.conv_transpose2d(
        x, weight.double(), bias.double(), 2, 2, output_padding=1
    )
    assert (layer(x) - expected).abs().max() < 5e-3


@given(ROWS)
def test_layer_norm(rows: np.ndarray) -> None:
    n = rows.shape[1]
    arrays = {"n.weight": np.linspace(0.5, 2, n), "n.bias": np.linspace(-1, 1, n)}
    layer = layers.LayerNorm(*(torch.from_numpy(arrays[f"n.{p}"]) for p in ("weight", "bias")))
    expected = reference.layer_norm(arrays, "n", rows)
    assert np.array_equal(layer(torch.from_numpy(rows)).numpy(), expected)


def test_layer_norm_is_near_its_float_layer() -> None:
    x = seeded(9, 300, spread=3.0) + 2
    layer = layers.LayerNorm(torch.ones(300).double(), torch.zeros(300).double())
    expected = torch.nn.functional.layer_norm(x, (300,), eps=1e-6)
    assert (layer(x) - expected).abs().max() < 2e-4


@given(ROWS)
def test_gelu(rows: np.ndarray) -> None:
    found = layers.gelu_(torch.tensor(rows)).numpy()
    assert np.array_equal(found, reference.gelu(rows))
    expected = torch.nn.functional.gelu(torch.from_numpy(rows)).numpy()
    assert np.abs(found - expected).max() <= 1e-6


@given(ROWS, st.data())
def test_softmax(rows: np.ndarray, data: st.DataObject) -> None:
    rows = np.clip(rows, -1e6, 1e6)
    hidden = data.draw(hnp.arrays(bool, rows.shape))
    hidden[:, 0] = False
    found = layers.softmax(torch.from_numpy(rows), torch.from_numpy(hidden)).numpy()
    assert np.array_equal(found, reference.softmax(rows, hidden))
    assert (found[hidden] == 0).all()
    masked = torch.from_numpy(np.where(hidden, -np.inf, rows))
    assert np.abs(found - masked.softmax(-1).numpy()).max() < 1e-5


@given(ROWS)
def test_relu_and_leaky_relu(rows: np.ndarray) -> None:
    x = torch.from_numpy(rows)
    assert np.array_equal(layers.relu(x).numpy(), np.maximum(rows, 0))
    assert np.array_equal(layers.leaky_relu(x).numpy(), reference.leaky_relu(rows))


@given(hnp.arrays(np.float64, 20, elements=VALUES), st.integers(0, 20))
def test_threshold_index_counts(x: np.ndarray, count: int) -> None:
    thresholds = np.sort(np.random.default_rng(count).integers(-(2**20), 2**20, count))
    found = layers.threshold_index(torch.from_numpy(x), torch.from_numpy(thresholds))
    expected = [sum(int(t) <= value * 65536 for t in thresholds) for value in x]
    assert found.tolist() == expected


# --- the C extension against torch -------------------------------------------------------------


def both_ways(monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any]) -> tuple[Any, Any]:
    """The result in C, and the result in torch."""
    if _accel.native() is None:
        pytest.skip("the C extension was not built")
    found = work()
    monkeypatch.setenv("TEC_DISABLE_NATIVE", "1")
    return found, work()


def wild(*shape: int, seed: int = 0) -> torch.Tensor:
    """Rows of all magnitudes, some of them zero, with ties and negative zeros."""
    sizes = torch.logspace(-320, 60, shape[-2], dtype=torch.float64)
    x = seeded(*shape, seed=seed) * sizes[:, None]
    x[..., 1, :] = 0.0
    x[..., 2, :] = -0.0
    x[..., 3, :] = torch.arange(shape[-1]) - 0.5
    return x


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "operation",
    [
        "left",
        "right",
        "norm",
        "gelu",
        "linear",
        "by bytes",
        "conv",
        "deconv",
        "by words",
        "conv by words",
        "deconv by words",
    ],
)
def test_c_is_torch(
    monkeypatch: pytest.MonkeyPatch, auto_carrier: None, operation: str, threads: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    x = wild(700, 301)  # enough for two threads, and no multiple of a vector
    image = wild(2, 31, 9, 12).permute(0, 3, 1, 2)
    square, cross = seeded(140, 12, 3, 3), seeded(12, 24, 5, 5)
    conv = layers.Conv.frozen(square.float(), seeded(140, seed=1).float())
    deconv = layers.ConvTranspose.frozen(cross.float(), seeded(24, seed=1).float())
    layer = layers.Linear.frozen(seeded(140, 301).float(), seeded(140, seed=1).float())
    norm = layers.LayerNorm(seeded(301), seeded(301, seed=1))
    if operation in ("by bytes", "conv", "deconv"):
        if not integer_gemm.int8_is_exact():
            pytest.skip("byte products saturate on this machine")
        integer_gemm.set_carrier("int8")
    elif "words" in operation:
        integer_gemm.set_carrier("int16")
    elif operation == "linear":
        integer_gemm.set_carrier("float64")
    work: dict[str, Callable[[], object]] = {
        "left": lambda: torch.cat(layers.quantize(x), dim=-1),
        "right": lambda: torch.cat(layers.quantize(x, layers.RIGHT_LIMIT), dim=-1),
        "norm": lambda: norm(x),
        "gelu": lambda: layers.gelu_(x.clone()),
        "linear": lambda: layer(x),
        "by bytes": lambda: layer(x),
        "conv": lambda: conv(image),
        "deconv": lambda: deconv(image),
        "by words": lambda: layer(x),
        "conv by words": lambda: conv(image),
        "deconv by words": lambda: deconv(image),
    }
    found, expected = both_ways(monkeypatch, work[operation])
    torch.set_num_threads(before)
    assert torch.isfinite(expected).all()
    assert torch.equal(found, expected)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_in_c_is_torch(monkeypatch: pytest.MonkeyPatch, masked: bool) -> None:
    q, k, v = (seeded(3, 2, 9, 8, seed=s, spread=3.0) for s in range(3))
    q[0, 0], k[1, 1] = 1e6 * q[0, 0], 0.0
    hidden = torch.ones((9, 9), dtype=torch.bool).triu(1) if masked else None
    keys, values = layers.Operand.of(k), layers.Operand.of(v)
    found, expected = both_ways(monkeypatch, lambda: layers.attention(q, keys, values, hidden))
    assert torch.equal(found, expected)
    one = layers.Operand.of(k[:1]), layers.Operand.of(v[:1])  # one memory for all windows
    monkeypatch.delenv("TEC_DISABLE_NATIVE")
    found, expected = both_ways(monkeypatch, lambda: layers.attention(q, *one, hidden))
    assert torch.equal(found, expected)


# --- cuts --------------------------------------------------------------------------------------


def test_attention_at_once_equals_token_by_token() -> None:
    q, k, v = (seeded(2, 3, 7, 8, seed=s) for s in range(3))
    hidden = torch.ones((7, 7), dtype=torch.bool).triu(1)
    whole = layers.attention(q, layers.Operand.of(k), layers.Operand.of(v), hidden)
    keys = values = None
    for i in range(7):
        new = [layers.Operand.of(t[:, :, i : i + 1]) for t in (k, v)]
        keys = new[0] if keys is None else keys.join(new[0])
        values = new[1] if values is None else values.join(new[1])
        one = layers.attention(q[:, :, i : i + 1], keys, values, None)
        assert torch.equal(one, whole[:, :, i : i + 1])


def test_attention_is_the_rule() -> None:
    q, k, v = (seeded(1, 1, 6, 4, seed=s, spread=2.0) for s in range(3))
    hidden = np.triu(np.ones((6, 6), bool), 2)
    found = layers.attention(
        q, layers.Operand.of(k), layers.Operand.of(v), torch.from_numpy(hidden)
    )
    expected = reference.attention(*(t[0, 0].numpy() for t in (q, k, v)), hidden)
    assert np.array_equal(found[0, 0].numpy(), expected)
    plain = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=~torch.from_numpy(hidden)
    )
    assert (found - plain).abs().max() < 2e-3


def test_rows_do_not_know_each_other() -> None:
    layer = layers.Linear.frozen(seeded(130, 300).float(), seeded(130, seed=1).float())
    norm = layers.LayerNorm(torch.ones(300).double(), torch.zeros(300).double())
    x = seeded(40, 300, seed=2) * torch.logspace(-8, 8, 40, dtype=torch.float64)[:, None]
    for work in (layer, norm, lambda x: layers.gelu_(x.clone()), layers.softmax):
        whole = work(x)
        assert torch.equal(whole, torch.cat([work(x[i : i + 1]) for i in range(40)]))
        assert torch.equal(whole.flip(0), work(x.flip(0)))


# --- carriers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["float64", "int16", "int8", "auto"])
@pytest.mark.parametrize("fill", ["random", "most", "signs"])
def test_carriers_are_exact(name: integer_gemm.Carrier, fill: str, auto_carrier: None) -> None:
    if name == "int8" and not integer_gemm.int8_is_exact():
        pytest.skip("byte products saturate on this machine")
    integer_gemm.set_carrier(name)
    rng = np.random.default_rng(0)
    left, right = rng.integers(-32639, 32640, (37, 770)), rng.integers(-8127, 8128, (150, 770))
    if fill != "random":
        left, right = np.full_like(left, 32639), np.full_like(right, -8127)
    if fill == "signs":
        left, right = (x * rng.choice([-1, 1], x.shape) for x in (left, right))
    matrix = integer_gemm.Matrix(torch.from_numpy(right.astype(np.int16)), torch.ones(150).double())
    nothing = torch.zeros(150, dtype=torch.float64)
    found = integer_gemm.affine(torch.from_numpy(left.astype(np.float64)), matrix, nothing)
    assert np.array_equal(found.numpy().astype(np.int64), left @ right.T)
    assert matrix.shape == (150, 770)
    assert np.array_equal(matrix.integers().numpy(), right)


@pytest.mark.parametrize("native", ["1", "0"])
def test_a_wrong_byte_product_is_caught(monkeypatch: pytest.MonkeyPatch, native: str) -> None:
    """A kernel that saturates after the probe passed must not change a result."""
    true_product = integer_gemm._int_mm
    calls = []

    def saturating(parts: torch.Tensor, limbs: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        out = true_product(parts, limbs)
        out[3, 5] -= 256
        return out

    monkeypatch.setenv("TEC_DISABLE_NATIVE", native)
    monkeypatch.setattr(integer_gemm, "_int_mm", saturating)
    monkeypatch.setattr(integer_gemm, "_requested", "int8")
    left = torch.round(seeded(20, 300, spread=9000.0)).clamp(-32639, 32639)
    integers = torch.round(seeded(140, 300, seed=1, spread=2000.0)).clamp(-8127, 8127)
    one, nothing = torch.ones(140).double(), torch.zeros(140).double()
    matrix = integer_gemm.Matrix(integers.to(torch.int16), one)
    assert torch.equal(integer_gemm.affine(left, matrix, nothing), left @ integers.T)
    assert calls


def test_unknown_carrier() -> None:
    with pytest.raises(InvalidInput, match="auto, float64, int16, int8"):
        integer_gemm.set_carrier("bfloat16")  # type: ignore[arg-type]


# --- tables ------------------------------------------------------------------------------------


def test_tables_are_the_pinned_ones() -> None:
    assert tables.digest(tables.normal_tail()) == (
        "a7b48da1d9a9802847188a780e556acb8897ac47ef3823c5398b531eccb3a3c2"
    )
    assert tables.digest(tables.gelu_dip()) == (
        "532fc3ba4c23d67efbab8e39eb7f591c872d9e6cd0ae0ccbbfe00e5aed49c6e0"
    )


def test_tables_are_near_their_functions() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    tail = tables.normal_tail() / 2.0**40
    assert np.abs(tail - scipy_stats.norm.sf(np.arange(len(tail)) / 1024)).max() < 2.0**-39
    falling = tables.exp2_falling() / 2.0**30
    assert np.abs(falling - 2.0 ** (-np.arange(len(falling)) / 256)).max() <= 2.0**-30
    assert falling[-1] == 0


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1e300)))
def test_sqrt_is_correctly_rounded(x: np.ndarray) -> None:
    expected = [math.sqrt(value) for value in x]
    assert layers.sqrt(torch.from_numpy(x)).tolist() == expected
