"""Layers whose results depend on integers only, whatever the machine and its threads."""
