"""``python -m tec_xarray.cli``: the ``tec`` command."""

from tec_xarray.cli import main

main()
