"""Options that blocks are coded with, wherever they are: they travel with the work.

What is set in the process that plans would otherwise stay there, and the environment of a worker is
made when it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tec_numcodecs.errors import InvalidInput, TecError
from tec_numcodecs.models.table import check_device
from tec_numcodecs.options import get_options, set_options, settings_given
from tec_xarray.execution.cluster import find_client
from tec_xarray.store.journal import Result

OPTIONS = ("device", "batch_size")


def settings_for_blocks(device: str | None, batch_size: int | None) -> dict[str, Any]:
    """Return what workers are to use: arguments, or else what is set in this process.

    What is neither is left to the workers and their environment.
    """
    found = {key: value for key, value in settings_given().items() if key in OPTIONS}
    given = {"device": device, "batch_size": batch_size}
    return found | {key: value for key, value in given.items() if value is not None}


@dataclass(frozen=True)
class WithOptions:
    """A task that runs under options of its own."""

    task: Callable[..., Result]
    settings: Mapping[str, Any]

    def __call__(self, *arguments: Any) -> Result:
        """Do the task."""
        with set_options(**self.settings):
            return self.task(*arguments)


def check_devices(settings: Mapping[str, Any], family: str, resources: Mapping[str, float]) -> None:
    """Refuse a device that is not where blocks would be coded, before the first of them.

    Parameters
    ----------
    settings : mapping
        Of `settings_for_blocks`.
    family : str
        Of the weights; see `family_in`.
    resources : mapping
        What a block needs of a worker: others are not asked.

    Raises
    ------
    InvalidInput
        It is not there, or torch is missing.
    """
    if not settings:
        return
    client = find_client()
    if client is None:
        with set_options(**settings):
            check_device(family, get_options().device)
        return
    workers = client.scheduler_info(n_workers=-1)["workers"]
    able = [
        address
        for address, worker in workers.items()
        if all(worker["resources"].get(name, 0) >= amount for name, amount in resources.items())
    ]
    answers = client.run(_missing, dict(settings), family, workers=able, on_error="return")
    wrong = {worker: answer for worker, answer in answers.items() if answer is not None}
    if wrong:
        worker, answer = next(iter(wrong.items()))
        raise InvalidInput(
            f"{len(wrong)} of {len(answers)} workers cannot use their device; {worker}: {answer}",
            allowed="workers that have it",
            fix="resources={'GPU': 1} keeps blocks off workers without a GPU, if those that have "
            "one are started with that resource; or device='cpu'",
        )


def _missing(settings: Mapping[str, Any], family: str) -> str | None:
    """Say on a worker why its device cannot be used; None if it can."""
    try:
        with set_options(**settings):
            check_device(family, get_options().device)
    except TecError as error:
        return str(error)
    return None


def family_in(codec: Mapping[str, Any]) -> str:
    """Return the family of the weights that a configuration of our codec names; "" if none."""
    weights = codec.get("weights")
    return str(weights.get("id", "")).split("-")[0] if isinstance(weights, Mapping) else ""
