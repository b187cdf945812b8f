"""What a cube is: bands, axes, units, CRS, chunks. Knows nothing of stores."""
