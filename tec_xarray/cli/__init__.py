"""The ``tec`` command."""

import sys

from tec_numcodecs.errors import MissingExtra
from tec_numcodecs.extras import named_if_missing


def main() -> None:
    """Run the command; this is what ``tec`` calls. Needs the extra ``cli``."""
    try:
        with named_if_missing("the tec command"):
            from tec_xarray.cli.commands import app
    except MissingExtra as error:
        sys.exit(f"tec: {error}")
    app()
