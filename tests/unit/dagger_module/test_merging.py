"""Merging inside the engine: which place is asked with which account."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from anyarch import errors
from anyarch.release.assemble import Order
from pipeline.merging import _beside, merged
from pipeline.place import Place

if TYPE_CHECKING:
    import dagger

pytestmark = pytest.mark.anyio


class Secret:
    async def plaintext(self) -> str:
        return "secret"


async def a_place() -> Place:
    secret = cast("dagger.Secret", Secret())
    return await Place.of("registry.example.com/shop/api", "robot", secret, insecure=True)


async def test_another_repository_of_the_registry_is_read_with_its_account() -> None:
    beside = await _beside(await a_place(), "registry.example.com/stage/api")
    assert (beside.username, beside.insecure) == ("robot", True)


@pytest.mark.parametrize("host", ["stage.example.com", "registry.example.com:5000"])
async def test_another_registry_is_shown_no_account_and_spoken_to_in_tls(host: str) -> None:
    beside = await _beside(await a_place(), f"{host}/stage/api")
    assert (beside.username, beside.password, beside.insecure) == ("", None, False)


@pytest.mark.parametrize(
    ("references", "sources", "said"),
    [
        pytest.param(["registry.example.com/api:1"] * 2, [], "is given twice", id="a reference twice"),
        pytest.param([], [], "what to merge", id="nothing"),
        pytest.param(["registry.example.com/api"], [], "no tag", id="no tag"),
        pytest.param(["registry.example.com/api:1"], ["oci:dist"], "not a repository", id="a layout"),
    ],
)
async def test_what_cannot_be_understood(references: list[str], sources: list[str], said: str) -> None:
    with pytest.raises(errors.UsageError, match=said):
        await merged(await a_place(), Order(), references, sources)
