"""The networks of the context model in floating point, made so that freezing loses next to nothing.

Everything is kept within what `mini.context.integer_mlp` computes in integers:
activations are clipped to [0, 255/32] in steps of 1/32, weights are 8-bit integers times a power
of two per output, features are multiples of 1/16. ``fake`` switches the rounding on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tec_numcodecs.models.mini.context.features import (
    OWN_FEATURES,
    PLANE_FEATURES,
    REFERENCE_FEATURES,
)
from tec_numcodecs.models.mini.progressive.bitplanes import PASSES
from tec_numcodecs.models.mini.progressive.significance import (
    FLAG_FEATURES,
    FLAG_ROWS,
    QUARTER_BITS,
)
from tec_numcodecs.models.mini.transform.quantizer import LEVELS, MAX_RATE_INDEX
from tec_numcodecs.training.likelihood import (
    MEANS_PER_UNIT,
    SCALE_MAX,
    SCALE_MIN,
    SCALES_PER_OCTAVE,
    SHAPES,
    Mixture,
    clamp,
    snap,
)

COMPONENTS, PHASES = 13, 4
#: Inputs and outputs of a network that sees no other date and no pass before.
INPUTS, OUTPUTS = PLANE_FEATURES + OWN_FEATURES, 3
FEATURE_UNIT, ACTIVATION_UNIT, ACTIVATION_MAX, SUM_UNIT = 16.0, 32.0, 255 / 32, 512.0
MEAN_MAX = 15.0
_KNOT = 16  # conditioning is piecewise linear in the rate index
#: Scales of a refinement stay below this, as `mini.progressive.bitplanes` has it.
SCALE_RAW = 31 / 8
#: Networks of block flags: their name, their width, the range and steps of their logits.
FLAGS, FLAG_WIDTH = "flags", 16
FLAG_LOGITS_PER_UNIT = float(1 << QUARTER_BITS)
FLAG_LOGIT = FLAG_ROWS / 2 / FLAG_LOGITS_PER_UNIT
_LN2 = float(np.log(2.0))
Arrays = dict[str, NDArray[np.generic]]


class Network(nn.Module):
    """Network of a level and orientation.

    Parameters
    ----------
    width : int
    inputs : int
    outputs : int
        Mean, scale and shape; with a reference, its gain; 1 for a flag.
    phases : int
    """

    def __init__(self, width: int, inputs: int, outputs: int, phases: int = PHASES) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width, bias=False)
        self.component = nn.Parameter(torch.randn(COMPONENTS, width) * 0.1)
        self.phase = nn.Parameter(torch.zeros(phases, width))
        self.rate = nn.Parameter(torch.randn(MAX_RATE_INDEX // _KNOT + 2, width) * 0.02)
        self.second = nn.Linear(width, width)
        self.out = nn.Linear(width, outputs)
        self.fake = False
        with torch.no_grad():
            self.out.weight.mul_(0.2)
            self.out.bias.zero_()
            if outputs >= OUTPUTS:
                self.out.bias[1:3] = torch.tensor([-1.0, 0.4])

    def forward(self, x: Tensor, component: Tensor, phase: Tensor, rate: Tensor) -> Tensor:
        """Features (P, F) in units of one, int64 (P,) each -> outputs (P, outputs)."""
        h = F.linear(x, self._weight(self.first.weight))
        h = h + self.component[component] + self.phase[phase] + self.rates()[rate]
        h = self._activate(h)
        h = self._activate(F.linear(h, self._weight(self.second.weight), self.second.bias))
        return F.linear(h, self._weight(self.out.weight), self.out.bias)

    def rates(self) -> Tensor:
        """Bias of every rate index, (224, width)."""
        at = torch.arange(MAX_RATE_INDEX + 1) / _KNOT
        knot = at.long()
        part = (at - knot)[:, None]
        return self.rate[knot] * (1 - part) + self.rate[knot + 1] * part

    def start_from(self, other: Network) -> None:
        """Take the weights of a network that sees no other date; what is new starts at zero."""
        with torch.no_grad():
            self.component.copy_(other.component)
            self.rate.copy_(other.rate)
            self.phase.copy_(other.phase)
            self.second.load_state_dict(other.second.state_dict())
            self.first.weight.zero_()
            self.first.weight[:, :PLANE_FEATURES] = other.first.weight[:, :PLANE_FEATURES]
            self.first.weight[:, -OWN_FEATURES:] = other.first.weight[:, -OWN_FEATURES:]
            self.out.weight.zero_()
            self.out.bias.zero_()
            self.out.weight[:OUTPUTS] = other.out.weight
            self.out.bias[:OUTPUTS] = other.out.bias

    def freeze(self, prefix: str) -> Arrays:
        """Integer arrays under a prefix; see `Family.freeze`."""
        arrays: Arrays = {}
        for part, layer in self._layers():
            whole, shift = rounded_weight(layer.weight.detach())
            arrays[f"{prefix}.{part}"] = np.ascontiguousarray(whole.numpy().T.astype(np.int8))
            arrays[f"{prefix}.{part}.shift"] = shift[:, 0].numpy().astype(np.int8)
            if part != "first":
                arrays[f"{prefix}.{part}.bias"] = _sums(layer.bias)
        arrays[f"{prefix}.component"] = _sums(self.component)
        arrays[f"{prefix}.phase"] = _sums(self.phase)
        arrays[f"{prefix}.rate"] = _sums(self.rates()).astype(np.int16)
        return arrays

    def thaw(self, prefix: str, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Undo `freeze`."""
        with torch.no_grad():
            for part, layer in self._layers():
                whole = np.asarray(arrays[f"{prefix}.{part}"], np.float32)
                shift = np.asarray(arrays[f"{prefix}.{part}.shift"], np.float32)
                layer.weight.copy_(torch.from_numpy((whole * np.exp2(-shift)).T.copy()))
                if part != "first":
                    layer.bias.copy_(_floats(arrays[f"{prefix}.{part}.bias"]))
            self.component.copy_(_floats(arrays[f"{prefix}.component"]))
            self.phase.copy_(_floats(arrays[f"{prefix}.phase"]))
            rates = _floats(arrays[f"{prefix}.rate"])
            knots = rates[::_KNOT]
            self.rate[:-1] = knots
            beyond = (len(rates) - 1) % _KNOT / _KNOT  # how far the last index is past its knot
            self.rate[-1] = (rates[-1] - knots[-1] * (1 - beyond)) / beyond

    def _layers(self) -> tuple[tuple[str, nn.Linear], ...]:
        return ("first", self.first), ("second", self.second), ("out", self.out)

    def _weight(self, weight: Tensor) -> Tensor:
        if not self.fake:
            return weight
        whole, shift = rounded_weight(weight.detach())
        return weight + (whole * torch.exp2(-shift) - weight.detach())

    def _activate(self, x: Tensor) -> Tensor:
        x = x.clamp(0, ACTIVATION_MAX)
        return snap(x, ACTIVATION_UNIT) if self.fake else x


def rounded_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole-number weights (outputs, inputs) and shifts (outputs, 1)."""
    peak = weight.abs().amax(dim=1, keepdim=True).clamp(min=2.0**-10)
    shift = torch.floor(torch.log2(127 / peak)).clamp(max=12)
    return torch.round(weight * torch.exp2(shift)).clamp(-127, 127), shift


def leveled(width: int, referenced: bool) -> dict[str, Network]:
    """A network for every ``<level>_<orientation>``."""
    inputs = INPUTS + (REFERENCE_FEATURES if referenced else 0)
    outputs = OUTPUTS + (1 if referenced else 0)
    return {
        f"{level}_{o}": Network(width, inputs, outputs) for level in range(LEVELS) for o in range(3)
    }


class Family(nn.Module):
    """All networks of `elic` or `tt`, and the mixture that their outputs mean.

    Parameters
    ----------
    width : int
    referenced : bool
    """

    def __init__(self, width: int, referenced: bool) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(leveled(width, referenced))
        self.mixture = Mixture()

    def set_fake(self, fake: bool) -> None:
        """Switch rounding of weights, activations and outputs on or off."""
        for name in self.networks:
            self.network(name).fake = fake

    def bits(
        self,
        name: str,
        features: Tensor,
        q: Tensor,
        component: Tensor,
        phase: Tensor,
        rate: Tensor,
        old: Tensor,
        known: Tensor,
    ) -> Tensor:
        """Ideal code lengths (P,) of the coefficients of a network.

        Features and ``old`` in the integer units of the samples, see `.samples.Samples`.
        """
        del known
        return self.mixture.bits(
            q, *self.distributions(name, features, component, phase, rate, old)
        )

    def distributions(
        self,
        name: str,
        features: Tensor,
        component: Tensor,
        phase: Tensor,
        rate: Tensor,
        old: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Means, scales and shapes (P,)."""
        network = self.network(name)
        fake = network.fake
        out: Tensor = network(features / FEATURE_UNIT, component, phase, rate)
        mean = clamp(out[:, 0], -MEAN_MAX, MEAN_MAX)
        scale, shape = out[:, 1], clamp(out[:, 2], 0.0, 1.0)
        if fake:
            mean = snap(mean, MEANS_PER_UNIT)
            scale, shape = snap(scale, SCALES_PER_OCTAVE), snap(shape, SHAPES - 1)
        if out.shape[1] > OUTPUTS:
            gain = clamp(out[:, 3], -1.0, 1.0)
            mean = mean + (snap(gain, 64.0) if fake else gain) * old / 8
            mean = snap(mean, MEANS_PER_UNIT) if fake else mean
        scale = clamp(scale + features[:, 0] / SCALES_PER_OCTAVE, SCALE_MIN, SCALE_MAX)
        return mean, scale, shape

    def start_from(self, other: Family) -> None:
        """Take the weights of networks that see no other date; what is new starts at zero."""
        for name in self.networks:
            self.network(name).start_from(other.network(name))
        self.mixture.load_state_dict(other.mixture.state_dict())

    def network(self, name: str) -> Network:
        """The network ``<level>_<orientation>``; of flextec, with pass or ``flags`` before that."""
        return cast(Network, self.networks[name])

    def freeze(self, name: str) -> Arrays:
        """Integer arrays as `.perceptron.Perceptron` reads them, under a prefix."""
        arrays: Arrays = {}
        for key in self.networks:
            arrays |= self.network(key).freeze(f"{name}.{key.replace('_', '.')}")
        return arrays

    def thaw(self, name: str, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Undo `freeze`, as far as rounding allows: to go on from a weights file."""
        for key in self.networks:
            self.network(key).thaw(f"{name}.{key.replace('_', '.')}", arrays)
        self.mixture.thaw(arrays)


class PassFamily(Family):
    """All networks of `flextec`: of every pass, and of block flags.

    Parameters
    ----------
    width : int
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, referenced=False)
        networks = {}
        for number in range(PASSES):
            for name, network in leveled(width, referenced=number > 0).items():
                networks[f"{number}_{name}"] = network
        for level in range(LEVELS):
            for o in range(3):
                network = Network(FLAG_WIDTH, FLAG_FEATURES, 1, PASSES - 1)
                networks[f"{FLAGS}_{level}_{o}"] = network
        self.networks = nn.ModuleDict(networks)

    def bits(
        self,
        name: str,
        features: Tensor,
        q: Tensor,
        component: Tensor,
        phase: Tensor,
        rate: Tensor,
        old: Tensor,
        known: Tensor,
    ) -> Tensor:
        """See `Family.bits`; of a flag network, of flags."""
        if name.startswith(FLAGS):
            network = self.network(name)
            logit = network(features / FEATURE_UNIT, component, phase, rate)[:, 0]
            logit = clamp(logit, -FLAG_LOGIT, FLAG_LOGIT)
            logit = snap(logit, FLAG_LOGITS_PER_UNIT) if network.fake else logit
            return F.softplus(torch.where(q > 0, -logit, logit)) / _LN2
        found = self.distributions(name, features, component, phase, rate, old)
        if name.startswith("0"):
            return self.mixture.bits(q, *found)
        return self._refined_bits(q, *found, known)

    def _refined_bits(
        self, q: Tensor, mean: Tensor, scale: Tensor, shape: Tensor, known: Tensor
    ) -> Tensor:
        """Code lengths where the pass before limits what is possible."""
        new = known > 0  # a binary digit
        scale = scale.clamp(max=SCALE_RAW)
        mean = torch.where(new, torch.zeros_like(mean), mean.clamp(-0.5, 0.4375))
        floor = 2 * known.clamp(min=1, max=3)
        symbols = [
            self.mixture.bits(torch.where(new, floor + digit, sign), mean, scale, shape)
            for digit, sign in ((0.0, mean.new_tensor(-1.0)), (1.0, mean.new_tensor(0.0)))
        ]
        third = self.mixture.bits(torch.ones_like(mean), mean, scale, shape)
        third = torch.where(new, torch.full_like(third, 60.0), third)
        bits = torch.stack([*symbols, third])  # (3, P)
        which = torch.where(new, q, q + 1).long()
        total = -torch.logsumexp(bits * -_LN2, 0) / _LN2
        return bits.gather(0, which[None])[0] - total

    def start_from(self, other: Family) -> None:
        """Take the weights of networks that know no pass before; those of flags stay."""
        for name in self.networks:
            if not name.startswith(FLAGS):
                self.network(name).start_from(other.network(name[2:]))
        self.mixture.load_state_dict(other.mixture.state_dict())


def _floats(x: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.asarray(x, np.float32) / np.float32(SUM_UNIT))


def _sums(x: Tensor) -> NDArray[np.int32]:
    return np.rint(x.detach().numpy() * SUM_UNIT).astype(np.int32)
