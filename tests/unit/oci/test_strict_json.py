"""JSON from strangers: each way to hurt a reader is one clear error, before it costs memory."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from anyarch.errors import ContentError
from anyarch.oci import strict_json
from hypothesis import given
from hypothesis import strategies as st

MIB = 1024 * 1024
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def read(raw: bytes) -> dict[str, object]:
    return strict_json.loads_object(raw, subject="x", max_bytes=4 * MIB)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        pytest.param(b"\xef\xbb\xbf{}", "byte order mark", id="byte order mark"),
        pytest.param('{"a": 1}'.encode("utf-16"), "not UTF-8 at byte 0", id="UTF-16"),
        pytest.param(b'{"a": "\xc0\xaf"}', "not UTF-8 at byte 7", id="an overlong slash"),
        pytest.param(b'{"a": "\xed\xa0\x80"}', "not UTF-8", id="a surrogate in UTF-8"),
        pytest.param(b'{"a": "\\ud800"}', "half of a surrogate pair", id="half a surrogate pair"),
        pytest.param(b'{"\\udfff": 1}', "half of a surrogate pair", id="half a surrogate pair as a key"),
        pytest.param(b"\0{}", "not valid JSON", id="NUL in front"),
        pytest.param(b"{}\0", "not valid JSON", id="NUL behind"),
        pytest.param(b'{"a": "\0"}', "not valid JSON", id="NUL in a string"),
        pytest.param(b'{"a": "\x1b[2J"}', "not valid JSON", id="escape character in a string"),
        pytest.param(b'{"a": 1e999}', "too large a number", id="a float beyond all"),
        pytest.param(b'{"a": -Infinity}', "-Infinity is not JSON", id="minus infinity"),
        pytest.param(b'{"a": ' + b"9" * 101 + b"}", "a number of 101 digits", id="a long number"),
        pytest.param(b'{"a": ' + b"9" * 100_000 + b"}", "a number of 100000 digits", id="a huge number"),
        pytest.param(b'{"a": 01}', "not valid JSON", id="a leading zero"),
        pytest.param(b"{'a': 1}", "not valid JSON", id="single quotes"),
        pytest.param(b'{"a": 1,}', "not valid JSON", id="a comma too many"),
        pytest.param(b'{"\\u0061": 1, "a": 2}', "duplicate keys", id="a key twice, once escaped"),
        pytest.param(b'{"a":' * 100 + b"{}" + b"}" * 100, "nested too deep", id="101 deep in objects"),
        pytest.param(b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "nested too deep", id="101 deep in lists"),
        pytest.param(b'{"a":' + b"[" * MIB + b"]" * MIB + b"}", "nested too deep", id="a million deep"),
        pytest.param(b'{"a":[' + b"{}," * MIB + b"{}]}", "more than the 250000", id="a million objects"),
        pytest.param(b'{"a":[' + b"0," * MIB + b"0]}", "more than the 250000", id="a million numbers"),
        pytest.param(b'"{}"', "expected a JSON object", id="a string"),
    ],
)
def test_what_is_refused(raw: bytes, says: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ContentError, match=says):
            read(raw)
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"a":' * 99 + b"{}" + b"}" * 99, id="100 deep"),
        pytest.param(json.dumps({"a": [[]] * 5000}).encode(), id="wide"),
        pytest.param(b'{"a": "\\ud83d\\ude00"}', id="a whole surrogate pair"),
        pytest.param(b'{"a": "\\u0000"}', id="an escaped NUL is a string like any other"),
        pytest.param(b' \r\n\t{"a": 1}\n', id="white space around it"),
    ],
)
def test_what_is_accepted_can_be_written_again(raw: bytes) -> None:
    found = read(raw)
    assert read(strict_json.dumps(found)) == found


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=5))
def test_what_is_written_is_read_back(document: dict[str, object]) -> None:
    try:
        raw = strict_json.dumps(document)
    except ValueError:  # infinity, or half a surrogate pair
        return
    assert read(raw) == document


@given(st.binary(max_size=60) | st.text('{}[]",:0eud8\\', max_size=40).map(lambda text: text.encode()))
def test_any_bytes_are_an_object_or_one_clear_error(raw: bytes) -> None:
    try:
        strict_json.dumps(read(raw))
    except ContentError as error:
        assert "\n" not in error.what  # noqa: PT017  one line, whatever the bytes are
