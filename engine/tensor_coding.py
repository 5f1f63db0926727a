"""One tensor written as its difference from another of the same type and shape, without loss.

Numbers become integers in the order of the reals (a float's bits, with the magnitude bits of the
negative ones inverted, as unsigned words compare like the floats do). Two close floats are then a
few units apart, and the difference, sign folded into the lowest bit, has zeros on top. Elements are
sorted by the exponent of the number they are predicted from, which the reader knows too: a change
of one size is many units of a small number and few of a large one. Then each byte of the
differences is a plane of its own, coded by whichever of three coders makes it smallest.

Low-rank factors serve as a better prediction, never as the tensor itself: a product of matrices
depends in its last bits on who multiplies. The prediction here is a sum of outer products, element
by element in double precision and in a fixed order, so IEEE 754 makes it the same everywhere, and
what it misses is coded like any other difference. A change in whole steps (`engine.whole_steps`)
needs no prediction: its multiples are the smallest description that there is.
"""

import lzma
import math
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine import whole_steps
from engine.errors import CheckpointError
from engine.whole_steps import Floats, Steps

Bytes = NDArray[np.uint8]
Words = NDArray[np.unsignedinteger[Any]]

WIDTHS: Final = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Bytes an element, by the name of the type in safetensors."""

_MANTISSA: Final = {"F64": 52, "F32": 23, "F16": 10, "BF16": 7}
_HIGHEST_RANK: Final = 32
_GAIN_WORTH_A_TRY: Final = 0.25
"""Bits an element that low rank must promise."""


class How(IntEnum):
    """How a payload describes its tensor; the first byte of it."""

    DENSE = 1
    """The difference of every element."""
    SPARSE = 2
    """One bit an element for whether it changed, and the differences of those that did."""
    LOW_RANK = 3
    """Factors of the change, then DENSE or SPARSE from what they predict."""
    WHOLE = 4
    """All bytes: there is nothing like it in the parent."""
    STEPS = 5
    """Whole multiples of a step of each row."""


class _Coder(IntEnum):
    STORED = 0
    HUFFMAN = 1
    LZMA = 2


# Differences are noise: the model of single bytes matters and matches do not.
_LZMA_FILTERS: Final = [
    {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16, "lc": 0, "lp": 0, "pb": 0,
     "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3, "nice_len": 32, "depth": 4}
]  # fmt: skip


def encode(parent: Bytes, child: Bytes, dtype: str, shape: tuple[int, ...]) -> bytes:
    """The smallest payload from which `decode` makes `child` again; both as flat bytes."""
    steps = _steps(parent, child, shape) if dtype == "F32" else None
    if steps is not None:
        return _encode_steps(steps)
    before, after = _words(parent, dtype), _words(child, dtype)
    candidates = [_encode_difference(before, after, dtype)]
    factors = _factors(parent, child, shape) if dtype == "F32" else None
    if factors is not None:
        left, right = factors
        predicted = _words(_predict(parent, left, right), dtype)
        candidates.append(
            bytes([How.LOW_RANK, left.shape[1]])
            + left.astype("<f4").tobytes()
            + right.astype("<f4").tobytes()
            + _encode_difference(predicted, after, dtype)
        )
    return min(candidates, key=len)


def decode(parent: Bytes, payload: bytes, dtype: str, shape: tuple[int, ...]) -> Bytes:
    """The tensor of `payload`, as flat bytes; raises `CheckpointError` where it is damaged."""
    reader = _Reader(payload)
    how = reader.how()
    if how == How.STEPS:
        return _decode_steps(parent, reader, dtype, shape)
    if how == How.LOW_RANK:
        if dtype != "F32" or len(shape) < 2:
            raise CheckpointError("low-rank factors for a tensor that cannot have them")
        rank = reader.take(1)[0]
        rows, columns = shape[0], math.prod(shape[1:])
        left = np.frombuffer(reader.take(4 * rows * rank), "<f4").reshape(rows, rank)
        right = np.frombuffer(reader.take(4 * columns * rank), "<f4").reshape(columns, rank)
        parent = _predict(parent, left, right)
        how = reader.how()
    before = _words(parent, dtype)
    order = _order(before, dtype)
    if how == How.DENSE:
        changed = np.ones(len(before), dtype=np.bool_)
    elif how == How.SPARSE:
        mask = np.frombuffer(reader.section(math.ceil(len(before) / 8)), np.uint8)
        changed = np.unpackbits(mask, count=len(before)).astype(np.bool_)
    else:
        raise CheckpointError("a payload of an unknown kind")
    differences = reader.planes(int(changed.sum()), before.dtype)
    reader.end()
    after = before.copy()
    after[order[changed]] = _moved(before[order[changed]], differences, dtype)
    return after.view(np.uint8)


def encode_whole(child: Bytes, dtype: str) -> bytes:
    """A payload that needs no parent."""
    return bytes([How.WHOLE]) + _encode_planes(child.view(_word_type(dtype)))


def decode_whole(payload: bytes, dtype: str, elements: int) -> Bytes:
    """What `encode_whole` took; raises `CheckpointError` where it cannot."""
    reader = _Reader(payload)
    if reader.how() != How.WHOLE:
        raise CheckpointError("a payload that lacks its parent's tensor")
    words = reader.planes(elements, _word_type(dtype))
    reader.end()
    return words.view(np.uint8)


def _encode_difference(before: Words, after: Words, dtype: str) -> bytes:
    """DENSE or SPARSE, whichever is smaller."""
    order = _order(before, dtype)
    before, after = before[order], after[order]
    changed = before != after
    dense = bytes([How.DENSE]) + _encode_planes(_difference(before, after, dtype))
    if changed.all():
        return dense
    moved = _difference(before[changed], after[changed], dtype)
    mask = np.packbits(changed).tobytes()
    sparse = bytes([How.SPARSE]) + _encode_section(mask) + _encode_planes(moved)
    return min(dense, sparse, key=len)


def _rows(content: Bytes, shape: tuple[int, ...]) -> Floats:
    """[R, C]; a vector is one row."""
    numbers: Floats = content.view("<f4")
    return numbers.reshape(shape[0] if len(shape) > 1 else 1, -1)


def _steps(parent: Bytes, child: Bytes, shape: tuple[int, ...]) -> Steps | None:
    if not parent.size:
        return None
    return whole_steps.found(_rows(parent, shape), _rows(child, shape))


def _encode_steps(steps: Steps) -> bytes:
    """The sign of a multiple is folded into its lowest bit, so small ones have a zero on top."""
    folded = (steps.multiples << 1) ^ (steps.multiples >> 15)
    exponents, multiples = (a.reshape(-1).view("<u2") for a in (steps.exponents, folded))
    return bytes([How.STEPS]) + _encode_planes(exponents) + _encode_planes(multiples)


def _decode_steps(parent: Bytes, reader: "_Reader", dtype: str, shape: tuple[int, ...]) -> Bytes:
    if dtype != "F32" or not parent.size:
        raise CheckpointError("steps for a tensor that cannot have them")
    before = _rows(parent, shape)
    exponents = reader.planes(len(before), np.dtype("<u2")).view(np.int16)
    folded = reader.planes(before.size, np.dtype("<u2"))
    reader.end()
    multiples = (folded >> 1).view(np.int16) ^ -(folded & 1).view(np.int16)
    after = whole_steps.moved(before, Steps(exponents, multiples.reshape(before.shape)))
    return after.reshape(-1).view(np.uint8)


def _word_type(dtype: str) -> np.dtype[np.unsignedinteger[Any]]:
    return np.dtype(f"<u{WIDTHS[dtype]}")


def _words(content: Bytes, dtype: str) -> Words:
    return content.view(_word_type(dtype))


def _order(words: Words, dtype: str) -> NDArray[np.int64]:
    """Positions by exponent, then by place; integers keep their places."""
    if dtype not in _MANTISSA:
        return np.arange(len(words))
    magnitude = (words << 1) >> (_MANTISSA[dtype] + 1)
    return np.argsort(magnitude.astype(np.uint16), kind="stable")


def _ordered(words: Words, dtype: str) -> Words:
    """Float bits as words, with the negative ones' magnitude inverted; its own inverse."""
    if dtype not in _MANTISSA:
        return words
    top = 8 * WIDTHS[dtype] - 1
    ones = np.array((1 << top) - 1, words.dtype)
    return np.where(words >> top, words ^ ones, words)


def _difference(before: Words, after: Words, dtype: str) -> Words:
    """The steps from before to after in last places, modulo the word; 0, -1, 1... as 0, 1, 2..."""
    difference = _ordered(after, dtype) - _ordered(before, dtype)
    top = 8 * WIDTHS[dtype] - 1
    negative = (difference >> top).astype(np.bool_)
    return np.where(negative, ~(difference << 1), difference << 1)


def _moved(before: Words, differences: Words, dtype: str) -> Words:
    """The inverse of `_difference` in its second argument."""
    half = differences >> 1
    odd = (differences & 1).astype(np.bool_)
    return _ordered(_ordered(before, dtype) + np.where(odd, ~half, half), dtype)


def _factors(
    parent: Bytes, child: Bytes, shape: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Factors [rows, r] and [columns, r] of the change, if they save more than they cost.

    The singular vectors by a randomised range finder (Halko, Martinsson and Tropp, 2011, algorithm
    5.1). A prediction that leaves the share e of the change's norm saves log2(1/e) bits an element.
    """
    if len(shape) < 2 or not parent.size:
        return None
    matrix = (shape[0], math.prod(shape[1:]))
    old, new = parent.view("<f4").reshape(matrix), child.view("<f4").reshape(matrix)
    if not (np.isfinite(old).all() and np.isfinite(new).all()):
        return None
    before = old.astype(np.float64)
    change = new - before
    energy = float((change**2).sum())
    if energy == 0:
        return None
    rank = min(*matrix, _HIGHEST_RANK)
    start = np.random.default_rng(0).standard_normal((matrix[1], rank))
    basis, _ = np.linalg.qr(change @ (change.T @ (change @ start)))
    left, singular, right = np.linalg.svd(basis.T @ change, full_matrices=False)
    # Rounding to the parent's precision is left over whatever the rank.
    floor = float((before**2).sum()) * 2.0**-50
    tail = np.maximum(energy - (singular**2).cumsum(), floor)
    ranks = np.arange(1, len(singular) + 1)
    cost = 32 * ranks * sum(matrix) / change.size + np.log2(np.maximum(tail / energy, 1e-300)) / 2
    best = int(cost.argmin())
    if cost[best] > -_GAIN_WORTH_A_TRY:
        return None
    chosen = best + 1
    weights = np.sqrt(singular[:chosen])
    return (
        (basis @ left[:, :chosen] * weights).astype(np.float32),
        (right[:chosen].T * weights).astype(np.float32),
    )


def _predict(parent: Bytes, left: NDArray[np.float32], right: NDArray[np.float32]) -> Bytes:
    """The parent plus left right', rounded to F32 once; the same bits on every machine."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = parent.view("<f4").reshape(len(left), len(right)).astype(np.float64)
        for column, row in zip(left.T.astype(np.float64), right.T.astype(np.float64), strict=True):
            total += column[:, None] * row
        rounded = total.astype("<f4")
    return rounded.reshape(-1).view(np.uint8)


def _encode_planes(words: Words) -> bytes:
    planes = words.view(np.uint8).reshape(len(words), words.itemsize).T
    return b"".join(_encode_section(plane.tobytes()) for plane in planes)


def _encode_section(content: bytes) -> bytes:
    huffman = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    coded = {
        _Coder.STORED: content,
        _Coder.HUFFMAN: huffman.compress(content) + huffman.flush(),
        _Coder.LZMA: lzma.compress(content, lzma.FORMAT_RAW, filters=_LZMA_FILTERS),
    }
    coder, smallest = min(coded.items(), key=lambda item: len(item[1]))
    return bytes([coder]) + len(smallest).to_bytes(8, "little") + smallest


@dataclass
class _Reader:
    """A payload, read from front to end; every surprise is a `CheckpointError`."""

    payload: bytes
    position: int = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        taken = self.payload[self.position : self.position + count]
        if len(taken) != count:
            raise CheckpointError("a payload that ends too early")
        self.position += count
        return taken

    def how(self) -> int:
        """The next byte: a `How`, if the payload is sound."""
        return self.take(1)[0]

    def section(self, size: int) -> bytes:
        """The next section, which must decode to `size` bytes and is never decoded further."""
        coder = self.take(1)[0]
        coded = self.take(int.from_bytes(self.take(8), "little"))
        try:
            if coder == _Coder.STORED:
                content = coded
            elif coder == _Coder.HUFFMAN:
                content = zlib.decompressobj(-15).decompress(coded, size + 1)
            elif coder == _Coder.LZMA:
                decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_LZMA_FILTERS)
                content = decoder.decompress(coded, size + 1)
            else:
                raise CheckpointError("a section of an unknown coder")
        except (zlib.error, lzma.LZMAError, EOFError) as error:
            raise CheckpointError(f"a section that cannot be decoded: {error}") from error
        if len(content) != size:
            raise CheckpointError(f"a section of {len(content)} bytes where {size} belong")
        return content

    def planes(self, count: int, word: np.dtype[np.unsignedinteger[Any]]) -> Words:
        """`count` words from one section a byte."""
        planes = [np.frombuffer(self.section(count), np.uint8) for _ in range(word.itemsize)]
        return np.stack(planes, axis=1).reshape(-1).view(word)

    def end(self) -> None:
        """Nothing may be left."""
        if self.position != len(self.payload):
            raise CheckpointError("a payload with something left over")
