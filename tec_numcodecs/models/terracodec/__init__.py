"""The published TerraCodec architectures, exact on every machine.

One file each: `fp`, `elic`, `tt`, `flextec`. Each has ``layout`` (the tensors that a published
file must hold), ``freeze`` (those to integers and entropy tables) and a `Model`.

Architectures and checkpoints: IBM TerraCodec 1.0 (Apache-2.0).
"""
