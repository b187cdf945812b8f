"""The passes of `flextec` over a crop, with walks and encoders that take notes."""

from __future__ import annotations

from collections.abc import Callable

from tec_numcodecs.models.base import Geometry, Rate
from tec_numcodecs.models.mini.flextec import MiniFlex, Progress, of_pass
from tec_numcodecs.models.mini.passcoders import PassDecider, PassEncoder
from tec_numcodecs.models.mini.refining import PASSES, RefiningWalk
from tec_numcodecs.models.mini.tokens import TOKENS
from tec_numcodecs.models.mini.transform import Coefficients

#: Makes the walk of a pass of this number, given what is known before it.
MakeWalk = Callable[[int, Progress], RefiningWalk]


def code_passes(
    model: MiniFlex,
    found: Coefficients,
    geometry: Geometry,
    rate: Rate,
    make_walk: MakeWalk,
    encoder: type[PassEncoder] = PassEncoder,
    decider: type[PassDecider] = PassDecider,
) -> list[RefiningWalk]:
    """Code coefficients as the model does; returns the walks of all passes."""
    _, q = model._decide(found, geometry, rate)
    progress, walks = Progress(geometry, rate, q.entries), []
    model._write_low(q.low, progress)
    for number in range(PASSES):
        own = model._pass(number, progress, make_walk(number, progress))
        part = of_pass(q.detail, number, TOKENS)
        if number < PASSES - 1:
            coder = encoder(own, part)
        else:
            coder = decider(own, part, found.detail, rate.index, model._bits)
        model._visit(coder, number, TOKENS, progress)
        walks.append(own.walk)
    return walks
