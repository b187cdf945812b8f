"""The exact transformer of TT and FlexTEC: layers, stacks, key-value caches.

A pre-norm layer has two attentions and two perceptrons. In an encoder both attentions look at the
tokens themselves; in the decoder the first one looks back, at tokens decoded so far, and the
second at a memory. Evaluating a block of tokens at once or one by one with a cache gives the same
bits: every row is quantized on its own, and hidden tokens weigh exactly zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tec_numcodecs.models.terracodec import checkpoint, freezing
from tec_numcodecs.models.terracodec.exact import backends, layers

HEADS = 16

_ATTENTIONS = ("self_attention", "cross_attention")
_PROJECTIONS = ("q", "k", "v", "proj")
_NORMS = ("norm1a", "norm1b", "norm2a", "norm2b")


def layer_layout(prefix: str, width: int, hidden: int, tokens: int | None) -> checkpoint.Layout:
    """Return the tensors of one published layer; `tokens` if it holds a look-ahead mask."""
    out: checkpoint.Layout = {}
    if tokens is not None:
        out[f"{prefix}.look_ahead_mask"] = (tokens, tokens)
    for norm in _NORMS:
        out |= checkpoint.linear_layout(f"{prefix}.{norm}", width)
    for attention in _ATTENTIONS:
        for projection in _PROJECTIONS:
            out |= checkpoint.linear_layout(f"{prefix}.{attention}.{projection}", width, width)
    for mlp in ("mlp1", "mlp2"):
        out |= checkpoint.linear_layout(f"{prefix}.{mlp}.fc1", hidden, width)
        out |= checkpoint.linear_layout(f"{prefix}.{mlp}.fc2", width, hidden)
    return out


def freeze_layer(store: freezing.Store, state: checkpoint.State, name: str, prefix: str) -> None:
    """Freeze one published layer under a new name."""
    parts = [f"{a}.{p}" for a in _ATTENTIONS for p in _PROJECTIONS]
    parts += [f"{m}.{f}" for m in ("mlp1", "mlp2") for f in ("fc1", "fc2")]
    freezing.put_exact(store, state, {f"{name}.{part}": f"{prefix}.{part}" for part in parts})
    freezing.put_floats(store, state, {f"{name}.{n}": f"{prefix}.{n}" for n in _NORMS})


@dataclass(frozen=True)
class Memory:
    """Keys and values of one attention."""

    keys: layers.Operand
    values: layers.Operand

    def join(self, other: Memory) -> Memory:
        """Append tokens."""
        return Memory(self.keys.join(other.keys), self.values.join(other.values))


@dataclass(frozen=True)
class Attention:
    """Multi-head attention with frozen projections."""

    q: layers.Linear
    k: layers.Linear
    v: layers.Linear
    proj: layers.Linear

    @classmethod
    def read(cls, tensors: freezing.Tensors, name: str) -> Attention:
        """Read the four projections of a frozen checkpoint."""
        q, k, v, proj = (freezing.get_linear(tensors, f"{name}.{p}") for p in _PROJECTIONS)
        return cls(q, k, v, proj)

    def remember(self, x: Tensor) -> Memory:
        """Turn tokens [W, n, d] into keys and values."""
        keys, values = _split_heads(self.k(x)), _split_heads(self.v(x))
        return Memory(layers.Operand.of(keys), layers.Operand.of(values))

    def look(self, x: Tensor, memory: Memory, hidden: Tensor | None = None) -> Tensor:
        """Let tokens [W, n, d] attend to a memory (of W windows, or of one for all)."""
        out = layers.attention(_split_heads(self.q(x)), memory.keys, memory.values, hidden)
        joined = out.transpose(1, 2).flatten(2)  # (W, n, d)
        return self.proj(joined)


def _split_heads(x: Tensor) -> Tensor:
    windows, tokens, width = x.shape
    heads = x.reshape(windows, tokens, HEADS, width // HEADS)
    return heads.transpose(1, 2)  # (W, heads, tokens, dim)


@dataclass(frozen=True)
class Perceptron:
    """Linear, GELU, linear."""

    first: layers.Linear
    second: layers.Linear

    @classmethod
    def read(cls, tensors: freezing.Tensors, name: str) -> Perceptron:
        """Read a frozen perceptron."""
        return cls(
            freezing.get_linear(tensors, f"{name}.fc1"), freezing.get_linear(tensors, f"{name}.fc2")
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Map [W, n, d] to [W, n, d]."""
        rows = x.reshape(-1, x.shape[-1]).split(backends.current().rows)
        return torch.cat([self.second(layers.gelu_(self.first(r))) for r in rows]).reshape(x.shape)


@dataclass(frozen=True)
class Layer:
    """One pre-norm layer."""

    norms: tuple[layers.LayerNorm, layers.LayerNorm, layers.LayerNorm, layers.LayerNorm]
    self_attention: Attention
    cross_attention: Attention
    mlp1: Perceptron
    mlp2: Perceptron

    @classmethod
    def read(cls, tensors: freezing.Tensors, name: str) -> Layer:
        """Read a layer of a frozen checkpoint."""
        a, b, c, d = (freezing.get_norm(tensors, f"{name}.{n}") for n in _NORMS)
        first, second = (Attention.read(tensors, f"{name}.{a}") for a in _ATTENTIONS)
        mlp1, mlp2 = (Perceptron.read(tensors, f"{name}.{m}") for m in ("mlp1", "mlp2"))
        return cls((a, b, c, d), first, second, mlp1, mlp2)

    def encode(self, x: Tensor) -> Tensor:
        """Map tokens [W, n, d]; both attentions look at the tokens themselves."""
        norm1a, norm1b, norm2a, norm2b = self.norms
        h = norm1a(x)
        x = x + self.self_attention.look(h, self.self_attention.remember(h))
        x = x + self.mlp1(norm1b(x))
        h = norm2a(x)
        x = x + self.cross_attention.look(h, self.cross_attention.remember(h))
        return x + self.mlp2(norm2b(x))

    def decode(
        self, x: Tensor, past: Memory | None, memory: Memory, hidden: Tensor | None
    ) -> tuple[Tensor, Memory]:
        """Map a block of new tokens [W, n, d]; return it with the grown cache."""
        norm1a, norm1b, norm2a, norm2b = self.norms
        h = norm1a(x)
        new = self.self_attention.remember(h)
        past = new if past is None else past.join(new)
        x = x + self.self_attention.look(h, past, hidden)
        x = x + self.mlp1(norm1b(x))
        x = x + self.cross_attention.look(norm2a(x), memory)
        return x + self.mlp2(norm2b(x)), past


def read_stack(tensors: freezing.Tensors, name: str) -> list[Layer]:
    """Read all layers ``name.0``, ``name.1`` ... of a frozen checkpoint."""
    count = 0
    while f"{name}.{count}.norm1a.weight" in tensors:
        count += 1
    return [Layer.read(tensors, f"{name}.{i}") for i in range(count)]


def encode(stack: Sequence[Layer], x: Tensor) -> Tensor:
    """Run an encoder stack over windows [W, n, d], a few windows at a time."""
    out = torch.empty_like(x, memory_format=torch.contiguous_format)

    def work(first: int, last: int) -> None:
        part = x[first:last]
        for layer in stack:
            part = layer.encode(part)
        out[first:last] = part

    backends.in_parts(x.shape[0], backends.current().windows, work, "windows")
    return out


@dataclass
class Decoding:
    """A decoder stack in the middle of a sequence of tokens: its memories and its cache."""

    stack: Sequence[Layer]
    memories: Sequence[Memory]
    past: list[Memory | None] = field(default_factory=list)
    length: int = 0

    @classmethod
    def over(cls, stack: Sequence[Layer], context: Tensor) -> Decoding:
        """Begin, with the joint context [W, m, d] (or [1, m, d] for all windows)."""
        return cls(stack, [layer.cross_attention.remember(context) for layer in stack])

    def restart(self) -> Decoding:
        """Return a fresh decoding over the same memories."""
        return Decoding(self.stack, self.memories)

    def advance(self, x: Tensor) -> Tensor:
        """Append tokens [W, n, d]; return the stack's output for them, [W, n, d]."""
        count = x.shape[1]
        hidden = None
        if count > 1:
            position = torch.arange(self.length + count, device=x.device)
            hidden = position[None, :] > position[self.length :, None]
        if not self.past:
            self.past = [None] * len(self.stack)
        for i, layer in enumerate(self.stack):
            x, self.past[i] = layer.decode(x, self.past[i], self.memories[i], hidden)
        self.length += count
        return x
