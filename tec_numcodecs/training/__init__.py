"""Training of the bundled models. Never imported by the reading side; needs the extra ``train``.

>>> python -m tec_numcodecs.training elic --minutes 120 --data path/to/scenes   # doctest: +SKIP
"""
