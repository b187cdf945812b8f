"""Prototypes of the levers of format version 2, measured on real scenes.

    python -m benchmarks.levers --data DIR [names]

Today's models are patched by subclasses, nothing in ``tec_numcodecs`` changes. Every size is that
of bytes which were decoded again; see `.coder`.
"""
