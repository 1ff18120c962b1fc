from __future__ import annotations

import pytest
from anyarch.errors import ContentError
from anyarch.registry.verified import Verifier
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import blob_of


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_the_right_bytes_pass_in_any_chunks(chunks: list[bytes]) -> None:
    verifier = Verifier(blob_of(b"".join(chunks)), subject="x")
    for chunk in chunks:
        verifier.take(chunk)
    verifier.finish()


def test_one_byte_too_many_is_refused_as_it_comes() -> None:
    verifier = Verifier(blob_of(b"abc"), subject="registry.example.com/a")
    verifier.take(b"ab")
    with pytest.raises(ContentError, match="more than the 3 bytes"):
        verifier.take(b"cd")


def test_one_byte_too_few_is_refused_at_the_end() -> None:
    verifier = Verifier(blob_of(b"abc"), subject="registry.example.com/a")
    verifier.take(b"ab")
    with pytest.raises(ContentError, match="2 bytes instead of the 3"):
        verifier.finish()
