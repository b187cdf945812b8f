"""Networks fitted to samples by their ideal code length; resumable."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tec_numcodecs.training.dataset.samples import Samples
from tec_numcodecs.training.perceptrons import Family


@dataclass(frozen=True)
class Settings:
    """How to fit.

    Attributes
    ----------
    minutes : float
        Length of the whole run; a resumed run continues where it was.
    batch : int
        Samples of levels 0 and 1 each; coarser levels have fewer.
    rate : float
        Peak learning rate.
    fake_from : float
        Fraction of the run after which weights and activations are rounded.
    decay : float
        Weight decay: coarse levels have few coefficients to learn from.
    finest : int
        Networks of finer levels stay as they are.
    """

    minutes: float
    batch: int = 4096
    rate: float = 2e-3
    warmup: int = 50
    final_rate: float = 0.01
    fake_from: float = 0.6
    average: float = 0.998
    decay: float = 0.01
    finest: int = 0
    save_every: float = 120.0
    validate_every: float = 120.0


class Fit:
    """One run.

    Parameters
    ----------
    family : Family
    train, val : dict of networks' names to Samples
    settings : Settings
    directory : Path
        Where ``last.pt`` and ``log.jsonl`` are kept.
    seed : int
    mixture : bool
        Whether to fit the mixture, too.
    """

    def __init__(
        self,
        family: Family,
        train: dict[str, Samples],
        val: dict[str, Samples],
        settings: Settings,
        directory: Path,
        seed: int = 0,
        *,
        mixture: bool = True,
    ) -> None:
        self.family, self.train, self.val = family, train, val
        self.settings, self.directory = settings, directory
        family.mixture.requires_grad_(mixture)
        free = [p for p in family.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            free, lr=settings.rate, betas=(0.9, 0.98), weight_decay=settings.decay
        )
        self.averaged = {k: v.detach().clone() for k, v in family.state_dict().items()}
        #: Averaged weights of each network where it was best on the validation samples.
        self.best = {k: v.clone() for k, v in self.averaged.items()}
        self._least: dict[str, float] = {}
        self.steps, self.spent = 0, 0.0
        self.rng = np.random.default_rng(seed)
        self._share = {at: len(s.q) * float(s.weight.mean()) for at, s in train.items()}
        total = sum(self._share.values())
        self._share = {at: share / total for at, share in self._share.items()}

    def resume(self) -> bool:
        """Continue from the last checkpoint, if there is one."""
        path = self.directory / "last.pt"
        if not path.is_file():
            return False
        kept = torch.load(path, weights_only=True)
        self.family.load_state_dict(kept["model"])
        self.averaged, self.best = kept["averaged"], kept["best"]
        self._least = kept["least"]
        self.optimizer.load_state_dict(kept["optimizer"])
        self.steps, self.spent = kept["steps"], kept["spent"]
        return True

    def save(self) -> None:
        """Write a checkpoint; a crash while writing leaves the old one."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "last.pt"
        content = {
            "model": self.family.state_dict(),
            "averaged": self.averaged,
            "best": self.best,
            "least": self._least,
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
            "spent": self.spent,
            "settings": asdict(self.settings),
        }
        torch.save(content, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def run(self) -> None:
        """Fit until the time is up, then save and validate."""
        settings = self.settings
        started = time.monotonic() - self.spent
        saved = validated = self.spent
        lasted = 0.0
        losses: list[float] = []
        while self.spent < settings.minutes * 60:
            losses.append(self.step(self.spent / (settings.minutes * 60)))
            self.spent = time.monotonic() - started
            if self.spent - saved > settings.save_every:
                self._log({"loss": sum(losses) / len(losses)})
                self.save()
                losses, saved = [], self.spent
            if self.spent - validated > max(settings.validate_every, 10 * lasted):
                self._log(self.validate())
                validated = time.monotonic() - started
                lasted = validated - self.spent
        self._log(self.validate())
        self.save()

    def step(self, progress: float) -> float:
        """One update; returns the loss."""
        settings = self.settings
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        rate = settings.final_rate + (1 - settings.final_rate) * cosine
        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate * rate * min(1.0, (self.steps + 1) / settings.warmup)
        self.family.set_fake(progress >= settings.fake_from)
        loss = torch.zeros(())
        for name, samples in self.train.items():
            level = int(name.split("_")[-2])
            if level < settings.finest:
                continue
            count = self._count(name) >> max(0, level - 1)
            runs = self.rng.integers(0, len(samples.q), max(1, count // 32))
            index = (runs[:, None] + np.arange(32)).ravel() % len(samples.q)
            weight = torch.from_numpy(samples.weight[index])
            bits = self.family.bits(name, *tensors(samples, index))
            loss = loss + (bits * weight).mean() / float(samples.weight.mean()) * self._share[name]
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.family.parameters(), 1.0)
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
        self.steps += 1
        self._average()
        return float(loss.detach())

    def _count(self, name: str) -> int:
        """Samples of a step: fewer of networks that matter less."""
        share = self._share[name] / max(self._share.values())
        return max(self.settings.batch >> 3, round(self.settings.batch * min(1.0, 2 * share)))

    @torch.no_grad()
    def validate(self) -> dict[str, object]:
        """Weighted bits per coefficient on the validation samples, averaged weights, rounded.

        Keeps each network that is better than ever, and the newest mixture.
        """
        trained = {k: v.detach().clone() for k, v in self.family.state_dict().items()}
        self.family.load_state_dict(self.averaged)
        self.family.set_fake(True)
        by_network = {}
        total = weights = 0.0
        for name, samples in self.val.items():
            own = 0.0
            for start in range(0, len(samples.q), 1 << 16):
                index = np.arange(start, min(start + (1 << 16), len(samples.q)))
                bits = self.family.bits(name, *tensors(samples, index))
                own += float((bits * torch.from_numpy(samples.weight[index])).sum())
            mean = own / float(samples.weight.sum())
            self._keep(name, mean)
            by_network[name] = round(mean, 4)
            total, weights = total + own, weights + float(samples.weight.sum())
        self.family.load_state_dict(trained)
        return {"val": total / weights, "val_planes": by_network}

    def _keep(self, network: str, bits: float) -> None:
        """Remember a network that is better than before."""
        if bits < self._least.get(network, math.inf):
            self._least[network] = bits
            prefix = f"networks.{network}."
            for key, value in self.averaged.items():
                if key.startswith((prefix, "mixture.")):
                    self.best[key] = value.clone()

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.settings.average, self.steps / (self.steps + 20))
        for name, value in self.family.state_dict().items():
            self.averaged[name].lerp_(value, 1 - keep)

    def _log(self, values: dict[str, object]) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        line = {"step": self.steps, "minutes": round(self.spent / 60, 2), **values}
        with (self.directory / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")


def tensors(samples: Samples, index: NDArray[np.intp]) -> Iterator[Tensor]:
    """Arguments of `.Family.bits` after the first."""
    yield torch.from_numpy(samples.features[index].astype(np.float32))
    yield torch.from_numpy(samples.q[index].astype(np.float32))
    for name in ("component", "phase", "rate"):
        yield torch.from_numpy(getattr(samples, name)[index].astype(np.int64))
    for name in ("old", "known"):
        yield torch.from_numpy(getattr(samples, name)[index].astype(np.float32))
