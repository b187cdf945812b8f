"""Layer 2: subbands in scan order, their magnitudes, their symbols."""
