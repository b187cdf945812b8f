"""``python -m tec_xarray.cli``: the ``tec`` command."""

from tec_xarray.cli.commands import main

main()
