"""A STAC catalog on this machine, for demos, notebooks and tests."""
