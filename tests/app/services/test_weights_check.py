"""Every way in which an upload is not the network's weights, each named by its first difference."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services import weights_check
from app.services.weights_check import BadWeights
from engine.spec import TensorDescription
from running_service import described, weights_bytes

WANTED = described().tensors


def packed(header: dict[str, Any] | bytes, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(dtype: str, shape: list[Any], *offsets: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


@pytest.fixture
def check(tmp_path: Path) -> Callable[[bytes], None]:
    def run(content: bytes) -> None:
        file = tmp_path / "weights"
        file.write_bytes(content)
        weights_check.check(file, WANTED)

    return run


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    return file.getvalue()


GOOD = {"body.weight": entry("F32", [2, 3], 0, 24), "steps": entry("I64", [1], 24, 32)}

BAD = [
    (b"", "truncated"),
    (b"1234", "truncated"),
    (weights_bytes()[:20], "header of .* cut short"),
    (weights_bytes()[:-1], "truncated: .* of .* bytes"),
    (weights_bytes() + b"x", "1 bytes that belong to no tensor"),
    (pickle.dumps({"a": 1}), "a pickle"),
    (zipped(), "a zip archive, as torch.save writes"),
    ((1 << 40).to_bytes(8, "little") + b"{}", "claims 1099511627776 bytes"),
    (packed(b"not json"), "not JSON"),
    (packed(b"[1]"), "not a JSON object"),
    (packed(b"[" * 200_000), "not JSON"),
    (packed(b'{"a": ' + b"9" * 5000 + b"}"), "header"),
    (packed(b'{"a": 1, "a": 2}'), "names 'a' twice"),
    (packed({"body.weight": 7}), "needs dtype, shape and data_offsets"),
    (packed({"body.weight": entry("F31", [1], 0, 4)}, bytes(4)), "unknown dtype 'F31'"),
    (packed({"body.weight": entry("F32", [-1], 0, 4)}, bytes(4)), "no list of sizes"),
    (packed({"body.weight": entry("F32", [True], 0, 4)}, bytes(4)), "no list of sizes"),
    (packed({"body.weight": entry("F32", [1.0], 0, 4)}, bytes(4)), "no list of sizes"),
    (packed({"body.weight": entry("F32", [1], 4, 0)}, bytes(4)), "needs 4 bytes"),
    (packed({"body.weight": entry("F32", [1], 0)}, bytes(4)), "no pair of positions"),
    (packed({"body.weight": entry("F32", [1 << 62, 1 << 62], 0, 4)}, bytes(4)), "needs"),
    (packed({"body.weight": entry("F32", [1], 4, 8)}, bytes(8)), "do not follow"),
    (
        packed({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 0, 4)}, bytes(4)),
        "do not follow",
    ),
    (packed({"body.weight": GOOD["body.weight"]}, bytes(24)), "'steps' is missing"),
    (packed(GOOD | {"extra": entry("U8", [1], 32, 33)}, bytes(33)), "'extra' is not one of"),
    (
        packed(GOOD | {"body.weight": entry("F32", [3, 2], 0, 24)}, bytes(32)),
        r"shape \[3, 2\], the network's \[2, 3\]",
    ),
    (
        packed(GOOD | {"steps": entry("U64", [1], 24, 32)}, bytes(32)),
        "dtype U64, the network's I64",
    ),
    (weights_bytes(float("nan")), "'body.weight' holds NaN or infinity, first at element 0"),
    (weights_bytes(float("-inf")), "NaN or infinity"),
]


@pytest.mark.parametrize(("content", "told"), BAD)
def test_a_bad_file_is_refused_with_its_first_fault(
    check: Callable[[bytes], None], content: bytes, told: str
) -> None:
    with pytest.raises(BadWeights, match=told):
        check(content)


def test_a_good_file_passes_with_and_without_metadata(check: Callable[[bytes], None]) -> None:
    check(weights_bytes())
    check(packed({"__metadata__": {"format": "pt"}, **GOOD}, bytes(32)))


def test_an_empty_tensor_takes_no_bytes(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(
        packed({"e": entry("F32", [0, 3], 0, 0), "s": entry("F32", [], 0, 4)}, bytes(4))
    )
    wanted = {
        "e": TensorDescription(dtype="F32", shape=(0, 3)),
        "s": TensorDescription(dtype="F32", shape=()),
    }
    weights_check.check(file, wanted)


@pytest.mark.parametrize(
    ("dtype", "bits", "integer"),
    [
        ("F16", 0x7C00, "<u2"),
        ("F16", 0xFE01, "<u2"),
        ("BF16", 0x7F80, "<u2"),
        ("BF16", 0xFFC0, "<u2"),
        ("F32", 0x7FC00000, "<u4"),
        ("F64", 0xFFF0000000000000, "<u8"),
    ],
)
def test_not_finite_is_found_in_every_float_type_and_block(
    tmp_path: Path, dtype: str, bits: int, integer: str
) -> None:
    count = 3_000_000
    values = np.zeros(count, integer)
    values[2_999_999] = bits
    file = tmp_path / "weights"
    file.write_bytes(packed({"w": entry(dtype, [count], 0, values.nbytes)}, values.tobytes()))
    with pytest.raises(BadWeights, match="first at element 2999999"):
        weights_check.check(file, {"w": TensorDescription(dtype=dtype, shape=(count,))})


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with pytest.raises(BadWeights):
        weights_check.read_header(io.BytesIO(content), len(content))


@given(st.integers(0, len(weights_bytes()) - 1), st.integers(1, 255))
def test_any_changed_byte_is_read_or_refused(position: int, change: int) -> None:
    content = bytearray(weights_bytes())
    content[position] ^= change
    try:
        tensors = weights_check.read_header(io.BytesIO(content), len(content))
    except BadWeights:
        return
    assert sum(tensor.end - tensor.begin for tensor in tensors.values()) == 32
