"""FlexTEC: TT with regrouped tokens, of which any number of leading ones is stored.

A token carries a slice of channels of its whole window, so that 1 to 16 of them describe the
window ever more finely; the others are replaced by what the network expects, which the decoder
knows too. The scale that codes a latent is the one that the network was trained with
(`TemporalContext.rows`); the published coding path squashes it through a softplus first and pays
for it in bits, with the same pixels.
"""

from __future__ import annotations

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.base import Rate
from tec_numcodecs.models.terracodec import checkpoint, tt

_ENTROPY = "model.entropy_model"
MASK_TOKENS = (f"{_ENTROPY}.mask_token", f"{_ENTROPY}.z_cur_mask_token")

freeze = tt.freeze


def layout(state: checkpoint.State) -> checkpoint.Layout:
    """Return the tensors of a checkpoint: those of TT and two that only training reads."""
    width, latent = checkpoint.require(state, f"{_ENTROPY}.encoder_embedding.weight", 2).shape
    return tt.layout(state) | {MASK_TOKENS[0]: (latent,), MASK_TOKENS[1]: (width,)}


class FlexTec(tt.TemporalTransformer):
    """FlexTEC with loaded weights; see `tec_numcodecs.models.terracodec.tt`."""

    name = "flextec"
    repacked = True

    def coded_tokens(self, rate: Rate) -> int:
        """Return how many tokens of a window are stored: the quality."""
        if not 1 <= rate.quality <= self.context.tokens:
            raise InvalidInput(
                f"quality = {rate.quality}",
                allowed=f"1 to {self.context.tokens} with model='flextec'",
                fix="pass quality=16 for the best",
            )
        return rate.quality
