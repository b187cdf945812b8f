"""Weights: frozen tensors in safetensors files, named by their SHA-256."""
