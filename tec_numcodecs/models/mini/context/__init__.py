"""Layer 3: integer networks that predict a coefficient from its neighborhood."""
