"""Models: one interface, one registry, one folder a family."""
