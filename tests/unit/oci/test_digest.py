from __future__ import annotations

import hashlib

import pytest
from anyarch.errors import ContentError, UsageError
from anyarch.oci.digest import Digest
from hypothesis import given
from hypothesis import strategies as st

HEX = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"


@given(st.binary())
def test_a_digest_is_the_hash_of_the_bytes(content: bytes) -> None:
    digest = Digest.of(content)
    assert digest.hex == hashlib.sha256(content).hexdigest()
    assert Digest.parse(str(digest)) == digest
    assert digest.matches(content)
    assert not digest.matches(content + b"x")


def test_sha512_is_read_and_checked() -> None:
    digest = Digest.of(b"foo", algorithm="sha512")
    assert Digest.parse(str(digest)).matches(b"foo")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(HEX, id="no algorithm"),
        pytest.param(f"sha256:{HEX}\n", id="a newline after it"),
        pytest.param(f"sha256:{HEX[:-1]}", id="one digit short"),
        pytest.param(f"sha256:{HEX}0", id="one digit long"),
        pytest.param(f"sha256:{HEX.upper()}", id="upper case"),
        pytest.param(f"SHA256:{HEX}", id="upper-case algorithm"),
        pytest.param(f"md5:{HEX[:32]}", id="an algorithm we do not take"),
        pytest.param("sha256:" + "../" * 21 + "x", id="a path"),
        pytest.param(f"sha512:{HEX}", id="the length of another algorithm"),
        pytest.param("sha256:" + "٣" * 64, id="digits that are not ASCII"),
    ],
)
def test_what_is_not_a_digest_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a digest"):
        Digest.parse(text)


def test_other_bytes_are_refused_with_both_digests() -> None:
    with pytest.raises(ContentError, match=rf"the config: expected sha256:{HEX}, but") as caught:
        Digest.parse(f"sha256:{HEX}").check(b"bar", subject="the config")
    assert str(Digest.of(b"bar")) in str(caught.value)
