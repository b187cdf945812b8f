"""The passes of `flextec` over a crop, with walks and encoders that take notes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from tec_numcodecs.models.base import Geometry, Rate
from tec_numcodecs.models.mini.flextec import MiniFlex, Progress, low_of_pass, of_pass
from tec_numcodecs.models.mini.progressive.bitplanes import PASSES, RefiningWalk
from tec_numcodecs.models.mini.progressive.coders import PassDecider, PassEncoder
from tec_numcodecs.models.mini.progressive.tokens import TOKENS
from tec_numcodecs.models.mini.transform.wavelet_klt import Coefficients

Walk = TypeVar("Walk", bound=RefiningWalk)


def code_passes(
    model: MiniFlex,
    found: Coefficients,
    geometry: Geometry,
    rate: Rate,
    kind: type[Walk],
    prepare: Callable[[Walk], None],
    encoder: type[PassEncoder] = PassEncoder,
    decider: type[PassDecider] = PassDecider,
) -> None:
    """Code coefficients as the model does, with walks of a kind that are prepared before."""
    _, q = model._decide(found, geometry, rate)
    progress = Progress(geometry, rate, q.entries)
    for number in range(PASSES):
        low = low_of_pass(q.low, rate.index, number, TOKENS)
        model._write_low(low, number, progress)
        own = model._pass(number, progress, kind)
        prepare(cast(Walk, own.walk))
        part = of_pass(q.detail, number, TOKENS)
        if number < PASSES - 1:
            coder = encoder(own, part)
        else:
            coder = decider(own, part, found.detail, rate.index, model._bits)
        model._visit(coder, number, TOKENS, progress)
