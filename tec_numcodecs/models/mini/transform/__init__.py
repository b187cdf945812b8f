"""Layer 1: wavelet and spectral transforms in integers, and the quantizer."""
