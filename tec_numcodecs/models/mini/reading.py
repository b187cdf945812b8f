"""From a weights file of this family to a model: checked tensors, then the class of the row."""

from __future__ import annotations

from pathlib import Path

from tec_numcodecs.errors import TecError, WeightsError
from tec_numcodecs.models.base import Model
from tec_numcodecs.models.mini import validation
from tec_numcodecs.models.table import ModelSpec, located
from tec_numcodecs.weights.local_store import WeightsId
from tec_numcodecs.weights.safetensors_io import load


def read(spec: ModelSpec, path: Path, weights: WeightsId) -> Model:
    """Load a model.

    Raises
    ------
    WeightsError
        The file is not the one that was named, or holds no such model.
    """
    arrays = load(path, weights.sha256)
    try:
        validation.check(arrays)
        model: Model = located(spec.location)(arrays)
    except TecError:
        raise
    except KeyError as error:
        raise WeightsError(
            f"weights {weights.id!r} without {error} for model={spec.name!r}",
            fix="pass the model that they were trained for",
        ) from error
    except (IndexError, TypeError, ValueError, OverflowError) as error:
        raise WeightsError(
            f"weights {weights.id!r} with tensors of other shapes than model={spec.name!r} has: "
            f"{error}",
            fix="whoever made the file made it wrong: use another one",
        ) from error
    return model
