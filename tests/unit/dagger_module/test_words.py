from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from anyarch.errors import UsageError
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Tag
from hypothesis import given
from hypothesis import strategies as st
from pipeline import words

if TYPE_CHECKING:
    import dagger

NAMES = st.text(st.characters(exclude_characters="="), min_size=1)


@given(st.dictionaries(NAMES, st.text()))
def test_pairs_give_back_what_was_written(pairs: dict[str, str]) -> None:
    assert words.pairs([f"{name}={value}" for name, value in pairs.items()], flag="--build-arg") == pairs


@pytest.mark.parametrize(
    "word",
    [
        pytest.param("NAME", id="no equals sign"),
        pytest.param("=value", id="no name"),
        pytest.param("", id="empty"),
    ],
)
def test_a_word_that_is_no_pair_is_named_with_its_flag(word: str) -> None:
    with pytest.raises(UsageError, match=r"--label .* is not NAME=VALUE"):
        words.pairs([word], flag="--label")


def test_the_same_platform_written_in_two_ways_is_refused() -> None:
    with pytest.raises(UsageError, match="names linux/arm64 twice"):
        words.platforms(["linux/arm64", "linux/386", "linux/aarch64"])


def test_platforms_are_required_and_keep_their_order() -> None:
    read = words.platforms(["linux/arm64/v8", "linux/386"])
    assert [each.platform for each in read] == [Platform("linux", "arm64"), Platform("linux", "386")]
    assert all(each.required for each in read)


def test_nothing_written_is_nothing_read() -> None:
    assert words.pairs(None, flag="--label") == {}
    assert words.platforms(None) == ()
    assert words.tags(None) == ()
    assert words.plan_digest("") is None
    assert words.revision("") is None


def test_a_tag_named_twice_is_one_tag() -> None:
    assert words.tags(["1.0", "latest", "1.0"]) == (Tag("1.0"), Tag("latest"))


def test_a_tag_of_our_own_is_refused() -> None:
    with pytest.raises(UsageError, match="is anyarch's own"):
        words.tags(["1.0", "_anyarch.history.latest"])


@pytest.mark.anyio
async def test_secrets_and_ids_must_be_pairs() -> None:
    with pytest.raises(UsageError, match="0 --secret, but 1 --secret-id"):
        await words.named_secrets(None, ["npm"])


@pytest.mark.anyio
async def test_lines_come_before_a_secrets_own_place_which_is_not_read_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Secret:
        def __init__(self, text: str | None) -> None:
            self.text = text

        async def plaintext(self) -> str:
            assert self.text is not None, "there is nothing to read"
            return self.text

    class Engine:
        def set_secret(self, name: str, plaintext: str) -> tuple[str, str]:
            return name, plaintext

    monkeypatch.setattr(words, "dag", Engine())
    secrets = cast("list[dagger.Secret]", [Secret(None), Secret("own")])
    lines = cast("dagger.Secret", Secret("npm=given"))
    read = await words.named_secrets(secrets, ["npm", "key"], lines)
    assert cast("object", read) == [("npm", "given"), ("key", "own")]
    assert cast("object", await words.named_secrets(secrets[1:], ["key"])) == [("key", "own")]
