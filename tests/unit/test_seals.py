"""Seals: no altered byte goes unseen, and readers that know of no seals read what is sealed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepscape.store.seals import (
    BrokenSealError,
    check_zip,
    read_sealed,
    sealed_json,
    sealed_zip,
    unsealed_json,
    write_sealed,
)

VALUE: dict[str, Any] = {"pack": "a", "runs": {"b": {"sha256": "0f", "seconds": 0.1}, "c": None}}
KEYS = tuple(VALUE)


def sealed_arrays() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(5.0), b=np.zeros(0))
    return sealed_zip(buffer.getvalue())


def test_any_reader_reads_it(tmp_path: Path) -> None:
    write_sealed(tmp_path / "x.json", VALUE)
    assert read_sealed(tmp_path / "x.json", KEYS) == VALUE
    assert json.loads((tmp_path / "x.json").read_text()).items() >= VALUE.items()
    with np.load(io.BytesIO(sealed_arrays())) as held:
        assert held["a"].tolist() == [0, 1, 2, 3, 4]


def test_every_bit_of_json_counts() -> None:
    whole = sealed_json(VALUE)
    for at in range(len(whole)):
        for bit in range(8):
            with pytest.raises(BrokenSealError):
                unsealed_json(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :], KEYS)
        for cut in (whole[:at], whole[:at] + bytes(len(whole) - at)):
            with pytest.raises(BrokenSealError):
                unsealed_json(cut, KEYS)


def test_every_bit_of_a_zip_counts() -> None:
    whole = sealed_arrays()
    check_zip(whole)
    for at in range(len(whole)):
        for changed in (whole[:at], whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :]):
            with pytest.raises(BrokenSealError):
                check_zip(changed)


def test_what_older_versions_wrote_has_no_seal() -> None:
    assert unsealed_json(json.dumps(VALUE).encode(), KEYS) == VALUE
    with pytest.raises(BrokenSealError, match="checksux"):
        unsealed_json(json.dumps({**VALUE, "checksux": "0"}).encode(), KEYS)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b'{"checksum": 3}', b'{"checksum": ""}'])
def test_what_is_none(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(BrokenSealError):
        unsealed_json(content, KEYS)
    (tmp_path / "x").write_bytes(content)
    assert read_sealed(tmp_path / "x", KEYS) is None
    assert read_sealed(tmp_path / "y", KEYS) is None
