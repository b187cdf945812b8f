"""Section 8 of FORMAT.md, writing: steps to a stream, symbols to steps."""

from __future__ import annotations

from bisect import bisect_right

Step = tuple[int, int]  # start and width of an interval


def _bytes_of(x: int) -> bytes:
    return x.to_bytes(-(-x.bit_length() // 8), "little")


def _put(x: int, s: int, f: int) -> int:
    return x // f * 65536 + x % f + s


def write(steps: list[Step]) -> bytes:
    """The stream of some steps, given in decoding order."""
    if not steps:
        return b""
    x, t = 1 << 16, len(steps) - 1
    while t >= 0 and x < steps[t][1] << 47:
        x = _put(x, *steps[t])
        t -= 1
    if t < 0:
        return _bytes_of(x)
    lanes = [0, 0]
    lanes[t % 2] = _put(x >> 32, *steps[t])
    lanes[1 - t % 2] = (1 << 32) + (x & 0xFFFFFFFF)
    words = []
    for i in range(t - 1, -1, -1):
        s, f = steps[i]
        x = lanes[i % 2]
        if x >= f << 47:
            words.append(x & 0xFFFFFFFF)
            x >>= 32
        lanes[i % 2] = _put(x, s, f)
    parts = [_bytes_of(x) for x in lanes]
    head = bytes([len(parts[0]) + 16 * len(parts[1])])
    return b"".join([head, *parts, *(w.to_bytes(4, "little") for w in reversed(words))])


def raw(value: int, k: int) -> Step:
    return value << (16 - k), 1 << (16 - k)


def symbol(value: int, row: tuple[list[int], int]) -> list[Step]:
    """Steps of a symbol in a row."""
    bounds, minimum = row
    escape = len(bounds) - 2
    k = value - minimum
    if 0 <= k < escape:
        return [(bounds[k], bounds[k + 1] - bounds[k])]
    b = int(k < 0)
    d = minimum - value if b else k - (escape - 1)
    L = d.bit_length() - 1
    steps = [(bounds[escape], bounds[escape + 1] - bounds[escape]), raw(2 * L + b, 6)]
    rest = d - (1 << L)
    if L > 16:
        steps += [raw(rest >> 16, L - 16), raw(rest & 0xFFFF, 16)]
    elif L:
        steps.append(raw(rest, L))
    return steps


def drawn(slot: int, row: tuple[list[int], int]) -> int | None:
    """The symbol that a slot of a row stands for; None for the escape."""
    bounds, minimum = row
    k = bisect_right(bounds, slot) - 1
    return None if k == len(bounds) - 2 else minimum + k
