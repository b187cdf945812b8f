"""The mini family: one fixed integer transform, four entropy models."""
