"""The training loop: resumable, averaged weights, cosine schedule by the clock."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tec_numcodecs.errors import WeightsError
from tec_numcodecs.models.mini.quantiser import MAX_RATE_INDEX
from tec_numcodecs.training.augment import Sampler
from tec_numcodecs.training.batch import Batch, Reference, collate, simulate
from tec_numcodecs.training.likelihood import Mixture
from tec_numcodecs.training.network import ContextNet
from tec_numcodecs.training.objective import (
    Coder,
    Quantiser,
    draw_rates,
    rate_weight,
)
from tec_numcodecs.training.wavelet import Spectra


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes
    ----------
    referenced : float
        Fraction of the steps in which every crop has something decoded before as reference.
    refined : float
        Fraction of those in which it is the crop itself, at twice the step.
    minutes : float
        Length of the whole run; a resumed run continues where it was.
    batch : int
    rate : float
        Peak learning rate.
    fake_from : float
        Fraction of the run after which weights and activations are rounded.
    """

    minutes: float
    batch: int = 8
    rate: float = 1.2e-3
    warmup: int = 50
    final_rate: float = 0.01
    fake_from: float = 0.7
    optimised_from: float = 0.4
    average: float = 0.998
    wild: float = 0.1
    referenced: float = 0.0
    refined: float = 0.0
    save_every: float = 240.0
    validate_every: float = 1200.0


class Trainer:
    """One run.

    Parameters
    ----------
    net, mixture : modules
    sampler : Sampler
    spectra : dict of sensor name to Spectra
    settings : Settings
    directory : Path
        Where ``last.pt`` and ``log.jsonl`` are kept.
    validate : callable, optional
        Called with a coder on averaged weights; its result goes to the log.
    """

    def __init__(
        self,
        net: ContextNet,
        mixture: Mixture,
        sampler: Sampler,
        spectra: dict[str, Spectra],
        settings: Settings,
        directory: Path,
        validate: Callable[[Coder], dict[str, Any]] | None = None,
    ) -> None:
        self.net, self.mixture, self.sampler, self.spectra = net, mixture, sampler, spectra
        self.settings, self.directory, self.validate = settings, directory, validate
        self.optimiser = torch.optim.Adam(self._parameters(), lr=settings.rate, betas=(0.9, 0.98))
        self.averaged = {k: v.detach().clone() for k, v in self._state().items()}
        self.steps, self.spent = 0, 0.0

    def _parameters(self) -> list[nn.Parameter]:
        return [*self.net.parameters(), *self.mixture.parameters()]

    def _state(self) -> dict[str, Tensor]:
        state = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        return state | {f"mixture.{k}": v for k, v in self.mixture.state_dict().items()}

    def resume(self) -> bool:
        """Continue from the last checkpoint, if there is one."""
        path = self.directory / "last.pt"
        if not path.is_file():
            return False
        kept = torch.load(path, weights_only=True)
        load_state(self.net, self.mixture, kept["model"])
        self.averaged = kept["averaged"]
        self.optimiser.load_state_dict(kept["optimiser"])
        self.steps, self.spent = kept["steps"], kept["spent"]
        return True

    def start_from(self, path: Path) -> None:
        """Begin a new run with another run's averaged weights."""
        state = torch.load(path, weights_only=True)["averaged"]
        load_state(self.net, self.mixture, state)
        self.averaged = {k: v.detach().clone() for k, v in self._state().items()}

    def save(self) -> None:
        """Write a checkpoint; a crash while writing leaves the old one."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "last.pt"
        content = {
            "model": self._state(),
            "averaged": self.averaged,
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
            "spent": self.spent,
            "settings": asdict(self.settings),
        }
        torch.save(content, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def run(self) -> None:
        """Train until the time is up, then save and validate."""
        settings = self.settings
        started = time.monotonic() - self.spent
        saved = validated = shown = self.spent
        losses: list[float] = []
        while self.spent < settings.minutes * 60:
            losses.append(self.step(self.spent / (settings.minutes * 60)))
            self.spent = time.monotonic() - started
            if self.spent - shown > 60:
                self._log({"loss": sum(losses) / len(losses)})
                losses, shown = [], self.spent
            if self.spent - saved > settings.save_every:
                self.save()
                saved = self.spent
            if self.validate is not None and self.spent - validated > settings.validate_every:
                self._log(self._validated(self.validate))
                validated = self.spent
        self.save()
        if self.validate is not None:
            self._log(self._validated(self.validate))

    def step(self, progress: float) -> float:
        """One update; returns the loss."""
        settings = self.settings
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        rate = settings.final_rate + (1 - settings.final_rate) * cosine
        for group in self.optimiser.param_groups:
            group["lr"] = settings.rate * rate * min(1.0, (self.steps + 1) / settings.warmup)
        batch, reference = self._batch()
        coder = Coder(self.net, self.mixture, fake=progress >= settings.fake_from)
        coded = coder.code(batch, self._quantiser(progress), reference, part=True)
        # Per pixel and band of the crop as it is stored.
        pixels = batch.count * self.sampler.size**2
        bits = torch.stack(coded.bits).sum(0) / pixels
        loss = (bits * rate_weight(batch.rate)).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters(), 1.0)
        if bool(torch.isfinite(norm)):
            self.optimiser.step()
        self.steps += 1
        self._average()
        return float(loss.detach())

    def _batch(self) -> tuple[Batch, Reference | None]:
        count, wild = self.settings.batch, self.settings.wild
        rates = draw_rates(count, torch.rand(count, 2))
        if float(torch.rand(())) >= self.settings.referenced:
            crops = [self.sampler.draw() for _ in range(count)]
            return collate(crops, rates, self.spectra, wild), None
        if float(torch.rand(())) < self.settings.refined:
            crops = [self.sampler.draw() for _ in range(count)]
            double = [min(rate + 16, MAX_RATE_INDEX) for rate in rates]
            coarser = collate(crops, double, self.spectra, wild)
            return collate(crops, rates, self.spectra, wild), simulate(coarser, 0.4)
        crops = [self.sampler.draw_pair() for _ in range(count)]
        older = collate(crops, rates, self.spectra, wild, date=0)
        return collate(crops, rates, self.spectra, wild), simulate(older, 0.4)

    def _quantiser(self, progress: float) -> Quantiser:
        offset = float(torch.empty(()).uniform_(0.33, 0.48))
        optimised = progress > self.settings.optimised_from and float(torch.rand(())) < 0.6
        return Quantiser(offset, float(torch.empty(()).uniform_(0.07, 0.12)) if optimised else 0.0)

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.settings.average, self.steps / (self.steps + 20))
        for name, value in self._state().items():
            self.averaged[name].lerp_(value, 1 - keep)

    def _validated(self, validate: Callable[[Coder], dict[str, Any]]) -> dict[str, Any]:
        """Run the validation on averaged weights, then put the trained ones back."""
        trained = {k: v.detach().clone() for k, v in self._state().items()}
        load_state(self.net, self.mixture, self.averaged)
        try:
            with torch.no_grad():
                return validate(Coder(self.net, self.mixture, fake=True))
        finally:
            load_state(self.net, self.mixture, trained)

    def _log(self, values: dict[str, Any]) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        line = {"step": self.steps, "minutes": round(self.spent / 60, 2), **values}
        with (self.directory / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")


def load_state(net: ContextNet, mixture: Mixture, state: dict[str, Tensor]) -> None:
    """Load a checkpoint's ``model`` or ``averaged`` entry into the modules."""
    for prefix, module in (("net.", net), ("mixture.", mixture)):
        part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        # A checkpoint made without reference dates gets the untrained layers for them.
        missing, unexpected = module.load_state_dict(part, strict=False)
        wrong = [*unexpected, *(k for k in missing if not _about_reference(k))]
        if wrong:
            raise WeightsError(f"checkpoint: tensors {', '.join(wrong)} missing or unknown")


def _about_reference(name: str) -> bool:
    return ".reference." in name or ".gain." in name
