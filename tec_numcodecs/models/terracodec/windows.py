"""Windows of a latent image as sequences of tokens, and FlexTEC's repacking of them."""

from __future__ import annotations

import torch
from torch import Tensor


def cells(image: Tensor, size: int) -> Tensor:
    """Cut an image into windows without overlap.

    Parameters
    ----------
    image : Tensor
        [B, C, H, W], H and W multiples of `size`.
    size : int
        Side of a window.

    Returns
    -------
    Tensor
        [B * windows, size * size, C], windows and tokens row-major.
    """
    view = image.unfold(2, size, size).unfold(3, size, size)  # (B, C, nH, nW, size, size)
    return view.permute(0, 2, 3, 4, 5, 1).flatten(3, 4).flatten(0, 2)


def from_cells(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Undo `cells`: [B * rows * columns, size * size, C] to [B, C, H, W]."""
    size = round(tokens.shape[1] ** 0.5)
    view = tokens.reshape(-1, rows, columns, size, size, tokens.shape[2])
    return view.permute(0, 5, 1, 3, 2, 4).flatten(2, 3).flatten(3, 4)


def neighborhoods(image: Tensor, size: int, stride: int) -> Tensor:
    """Cut windows of `size` centered on the cells of side `stride`, reflecting at the borders.

    Parameters
    ----------
    image : Tensor
        [B, C, h, w], any h and w.

    Returns
    -------
    Tensor
        [B * windows, size * size, C]; as many windows as `cells` gives for the image extended to
        multiples of `stride`.
    """
    rows = _extended(image.shape[2], size, stride).to(image.device)
    columns = _extended(image.shape[3], size, stride).to(image.device)
    wide = image[:, :, rows][:, :, :, columns]
    view = wide.unfold(2, size, stride).unfold(3, size, stride)
    return view.permute(0, 2, 3, 4, 5, 1).flatten(3, 4).flatten(0, 2)


def _extended(length: int, size: int, stride: int) -> Tensor:
    """Return source indices: to a multiple of `stride` first, then the margin on both sides."""
    full = -(-length // stride) * stride
    margin = (size - stride) // 2
    inner = _reflected(torch.arange(full, device="cpu"), length)
    return inner[_reflected(torch.arange(-margin, full + margin, device="cpu"), full)]


def _reflected(index: Tensor, length: int) -> Tensor:
    """Reflect indices into 0 ... length - 1 without repeating the border."""
    period = max(2 * (length - 1), 1)
    folded = torch.remainder(index, period)
    return torch.minimum(folded, period - folded) if length > 1 else torch.zeros_like(index)


def repack(tokens: Tensor) -> Tensor:
    """Regroup [W, L, D] so that token s holds the s-th slice of every token's features.

    Its own inverse. With D = L g, new token s is the concatenation over old tokens t of features
    g s ... g s + g - 1 of t: a few leading tokens then describe the whole window coarsely.
    """
    windows, length, width = tokens.shape
    view = tokens.reshape(windows, length, length, width // length)
    return view.transpose(1, 2).reshape(windows, length, width)
