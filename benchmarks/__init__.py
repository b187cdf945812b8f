"""Speed, rate and distortion beside other codecs: ``python -m benchmarks.rd`` in the root."""
