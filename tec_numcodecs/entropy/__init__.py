"""Entropy coding: rANS over frozen CDF tables, variable-length integers, deflate."""
