"""The codecs of this package in TerraTorch's registry of models.

``import tec_numcodecs.terratorch`` adds a source ``tec`` to ``FULL_MODEL_REGISTRY``: the bundled
models (``tec_mini_fp_s2l2a``, ...) and the published TerraCodec architectures in exact arithmetic
(``tec_terracodec_v1_fp_s2l2a``, ...). `register` with ``replace=True`` puts the latter in the place
of TerraTorch's own entries, which need the ``terracodec`` package. Where that is not installed,
those entries can do nothing but fail, and the import alone fills them.

>>> from terratorch import FULL_MODEL_REGISTRY  # doctest: +SKIP
>>> import tec_numcodecs.terratorch  # doctest: +SKIP
>>> model = FULL_MODEL_REGISTRY.build("tec_mini_elic_s2l2a", compression=20)  # doctest: +SKIP

Without TerraTorch nothing is registered, and the builders can be called all the same.
"""

from __future__ import annotations

import lazy_loader

from tec_numcodecs.extras import require
from tec_numcodecs.terratorch.registry import register, register_if_installed

require("torch", "tec_numcodecs.terratorch")

_attribute, __dir__, _builders = lazy_loader.attach(
    __name__, submod_attrs={"builders": ["BUILDERS", "EXACT", "MINI"]}
)
__all__ = ["BUILDERS", "EXACT", "MINI", "register"]


def __getattr__(name: str) -> object:
    return _attribute(name)


register_if_installed()
