"""The exact entropy network of TT and FlexTEC: two past latents to means and scales of the next.

A context latent becomes one sequence of tokens per 8 x 8 window (`embed_context`); two of them,
the older first, become the memory of a decoder that goes through the 16 tokens of the 4 x 4
window in their middle. Frame 0 sees a learned constant twice, frame 1 sees frame 0 twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tec_numcodecs.models.terracodec import checkpoint, freezing, tables, transformer, windows
from tec_numcodecs.models.terracodec.exact import layers as exact
from tec_numcodecs.models.terracodec.exact.backends import Placeable
from tec_numcodecs.models.terracodec.standardize import LATENT_LIMIT

LATENT_SCALE = 35.0  # latents are divided by this before they are embedded

_ENTROPY = "model.entropy_model"
_PAD = "model._temporal_pad_token_maker.weight"
_STACKS = ("encoder_sep", "encoder_joint", "decoder")
_POSITIONS = ("enc_position_sep", "enc_position_joint", "dec_position")
_HEADS = ("mean_head", "scale_head")
_EMBEDDINGS = ("encoder_embedding", "decoder_embedding")

Take = Callable[[int, int, Tensor, Tensor], Tensor]


def layout(state: checkpoint.State) -> checkpoint.Layout:
    """Return the tensors of the entropy network of a checkpoint of the size of `state`."""
    width, latent = checkpoint.require(state, f"{_ENTROPY}.encoder_embedding.weight", 2).shape
    out: checkpoint.Layout = {_PAD: (1, latent, 1, 1), f"{_ENTROPY}.learned_zero.sym": (latent,)}
    tokens = {p: checkpoint.require(state, f"{_ENTROPY}.{p}._pos", 3).shape[1] for p in _POSITIONS}
    for position, count in tokens.items():
        out[f"{_ENTROPY}.{position}._pos"] = (1, count, width)
    for stack in _STACKS:
        prefix = f"{_ENTROPY}.{stack}.layers.encoder_layer_"
        count = max(_layer_count(state, prefix), 1)
        hidden = checkpoint.require(state, f"{prefix}0.mlp1.fc1.weight", 2).shape[0]
        masked = tokens["dec_position"] if stack == "decoder" else None
        for i in range(count):
            out |= transformer.layer_layout(f"{prefix}{i}", width, hidden, masked)
    out |= checkpoint.linear_layout(f"{_ENTROPY}.post_embedding_layernorm", width)
    for embedding in _EMBEDDINGS:
        out |= checkpoint.linear_layout(f"{_ENTROPY}.{embedding}", width, latent)
    for head in _HEADS:
        for i, outputs in ((0, width), (2, width), (4, latent)):
            out |= checkpoint.linear_layout(f"{_ENTROPY}.{head}.{i}", outputs, width)
    bottleneck = f"{_ENTROPY}.bottleneck._entropy_model"
    out[f"{bottleneck}.scale_bound"] = (1,)
    for bound in ("likelihood_lower_bound", "lower_bound_scale", "lower_bound_zero",
                  "upper_bound_mean", "upper_bound_scale"):  # fmt: skip
        out[f"{bottleneck}.{bound}.bound"] = (1,)
    return out


def _layer_count(state: checkpoint.State, prefix: str) -> int:
    found = {key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)}
    return max((int(i) for i in found if i.isdigit()), default=-1) + 1


def freeze(store: freezing.Store, state: checkpoint.State) -> None:
    """Freeze the entropy network of a checked state dict."""
    freezing.put_floats(store, state, {"pad": _PAD, "zero": f"{_ENTROPY}.learned_zero.sym"})
    freezing.put_floats(store, state, {p: f"{_ENTROPY}.{p}._pos" for p in _POSITIONS})
    freezing.put_floats(store, state, {"norm": f"{_ENTROPY}.post_embedding_layernorm"})
    freezing.put_exact(store, state, {e: f"{_ENTROPY}.{e}" for e in _EMBEDDINGS})
    heads = {f"{h}.{i}": f"{_ENTROPY}.{h}.{i}" for h in _HEADS for i in (0, 2, 4)}
    freezing.put_exact(store, state, heads)
    for stack in _STACKS:
        prefix = f"{_ENTROPY}.{stack}.layers.encoder_layer_"
        for i in range(_layer_count(state, prefix)):
            transformer.freeze_layer(store, state, f"{stack}.{i}", f"{prefix}{i}")
    freezing.put_tables(store, "gaussian", tables.tt_tables())
    store["thresholds"] = torch.from_numpy(tables.tt_scale_thresholds().copy())


@dataclass(frozen=True)
class Embedding:
    """Latent vectors to tokens, before positions are added."""

    linear: exact.Linear
    norm: exact.LayerNorm

    def __call__(self, latents: Tensor) -> Tensor:
        """Map [W, n, M] to [W, n, d]."""
        # Divided by a tensor: devices multiply by the reciprocal of a number instead.
        scale = latents.new_full((1,), LATENT_SCALE)
        return self.norm(self.linear(latents / scale))


@dataclass(frozen=True)
class Head:
    """Linear, LeakyReLU, linear, LeakyReLU, linear."""

    layers: tuple[exact.Linear, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Map [W, n, d] to [W, n, M]."""
        first, second, third = self.layers
        return third(exact.leaky_relu(second(exact.leaky_relu(first(x)))))


class TemporalContext(Placeable):
    """The frozen entropy network.

    Parameters
    ----------
    tensors : Mapping
        A frozen checkpoint, see `freeze`.
    repacked : bool
        Whether tokens are regrouped as in FlexTEC.
    """

    def __init__(self, tensors: freezing.Tensors, *, repacked: bool) -> None:
        norm = freezing.get_norm(tensors, "norm")
        encoder, decoder = (Embedding(freezing.get_linear(tensors, e), norm) for e in _EMBEDDINGS)
        self.embed_past, self.embed_token = encoder, decoder
        self.mean_head, self.scale_head = (
            Head(tuple(freezing.get_linear(tensors, f"{h}.{i}") for i in (0, 2, 4))) for h in _HEADS
        )
        self.sep, self.joint, self.decoder = (transformer.read_stack(tensors, s) for s in _STACKS)
        self.sep_position, self.joint_position, self.position = (
            freezing.get_double(tensors, p) for p in _POSITIONS
        )
        self.zero = freezing.get_double(tensors, "zero")
        self.pad = freezing.get_double(tensors, "pad")
        self.thresholds = tensors["thresholds"]
        self.tokens = self.position.shape[1]
        self.cell = round(self.tokens**0.5)
        self._window = round(self.sep_position.shape[1] ** 0.5)
        self._repacked = repacked
        self._start: transformer.Decoding | None = None

    def pack(self, tokens: Tensor) -> Tensor:
        """Regroup [W, n, D] if this is FlexTEC; its own inverse."""
        return windows.repack(tokens) if self._repacked else tokens

    def embed_context(self, latent: Tensor) -> Tensor:
        """Turn decoded latents [B, M, h, w] into context tokens [B * windows, 64, d]."""
        tokens = self.pack(windows.neighborhoods(latent, self._window, self.cell))
        return transformer.encode(self.sep, self.embed_past(tokens) + self.sep_position)

    def begin(self, older: Tensor, newer: Tensor) -> transformer.Decoding:
        """Return a decoding of windows whose two contexts are [W, 64, d] each."""
        joint = torch.cat((older, newer), dim=1) + self.joint_position
        context = transformer.encode(self.joint, joint)
        return transformer.Decoding.over(self.decoder, context)

    def begin_first(self) -> transformer.Decoding:
        """Return a decoding of windows of frame 0.

        Its context is the same constant in every window, so one window's memory serves all.
        """
        if self._start is None:
            constant = self.pad.expand(1, -1, self.cell, self.cell)
            context = self.embed_context(constant)
            self._start = self.begin(context, context)
        return self._start.restart()

    def walk(
        self, decoding: transformer.Decoding, take: Take, coded: int, known: Tensor | None,
        on_grid: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Visit the tokens of some windows in coding order.

        Parameters
        ----------
        decoding : Decoding
            A fresh one, with these windows' memories.
        take : callable
            ``take(first, last, mean, scale)`` returns the latents [W, last - first, M] of coded
            tokens, given what the network expects.
        coded : int
            Leading tokens that are coded; the others become what the network expects.
        known : Tensor, optional
            [W, coded, M], if the coded tokens are known already: then they go through at once.
        on_grid : Tensor
            bool [W, tokens, M], False for latents beyond the image, which are 0.

        Returns
        -------
        latents : Tensor
            [W, tokens, M], whole numbers.
        features : Tensor
            [W, tokens, d], for the synthesis.
        """
        count = on_grid.shape[0]
        latents = [self.zero.expand(count, 1, -1)]
        features = []
        for first, last in self._blocks(coded, known is not None):
            inputs = latents[-1]
            if known is not None and last <= coded:
                inputs = torch.cat((inputs, known[:, first : last - 1]), dim=1)
            x = self.embed_token(inputs) + self.position[:, first:last]
            z = decoding.advance(x)
            mean = self.mean_head(z)
            stored = last <= coded
            values = take(first, last, mean, self.scale_head(z)) if stored else whole(mean)
            values = torch.where(on_grid[:, first:last], values, torch.zeros_like(values))
            latents.extend(values.split(1, dim=1))
            features.append(z)
        return torch.cat(latents[1:], dim=1), torch.cat(features, dim=1)

    def _blocks(self, coded: int, at_once: bool) -> Iterator[tuple[int, int]]:
        if at_once and coded:
            yield 0, coded
        for i in range(coded if at_once else 0, self.tokens):
            yield i, i + 1

    def rows(self, mean: Tensor, scale: Tensor) -> Tensor:
        """Return the table row of each latent, int64: the fraction of its mean, and its scale.

        Both are the nearest bin, as in the likelihood that the networks were trained with; the
        published coder truncates them (and FlexTEC's squashes the scale), for a few bits more.
        """
        fraction = mean - whole(mean)
        bins = torch.floor((fraction + 0.5) * float(tables.MEAN_BINS) + 0.5)
        bins = torch.clamp(bins, 0, tables.MEAN_BINS - 1).to(torch.int64)
        return bins * tables.SCALE_BINS + exact.threshold_index(scale, self.thresholds)


def whole(mean: Tensor) -> Tensor:
    """Round means half to even, within the range of latents."""
    return torch.clamp(torch.round(mean), -LATENT_LIMIT, LATENT_LIMIT)
