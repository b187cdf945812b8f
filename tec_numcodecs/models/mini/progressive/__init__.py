"""Layer 4: bit planes in tokens, from coarse to fine."""
