"""What an answer of AWS tells about a permission."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest
from anyarch.errors import (
    AnyarchError,
    AuthenticationError,
    DeniedError,
    NotFoundError,
    RegistryProtocolError,
    RegistryUnavailableError,
)
from anyarch.registry.ecr_host import EcrHost
from anyarch.registry.ecr_probe import ask

if TYPE_CHECKING:
    from anyarch.registry.ecr import Account

WHERE = cast("EcrHost", EcrHost.parse("123456789012.dkr.ecr.eu-west-1.amazonaws.com"))


@dataclass
class Answers:
    """An account of which every question has one answer."""

    error: AnyarchError | None
    where: EcrHost = WHERE
    asked: str = ""

    def call(self, action: str, _: Any) -> None:  # noqa: ANN401  what it would ask
        self.asked = action
        if self.error is not None:
            raise self.error


def answer(error: AnyarchError | None) -> str:
    told = Answers(error)
    found = ask(cast("Account", told), "shop/api", "PutImage", exists=True)
    assert told.asked == "ecr:PutImage"
    return found.answer


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(None, "allowed", id="answered"),
        pytest.param(
            RegistryProtocolError("x", code="ImageDigestDoesNotMatchException"), "allowed", id="refused"
        ),
        pytest.param(NotFoundError("x", code="RepositoryNotFoundException"), "allowed", id="not there"),
        pytest.param(DeniedError("x", code="AccessDeniedException"), "denied", id="denied"),
        pytest.param(
            RegistryProtocolError("x", code="InvalidParameterException"),
            "unknown",
            id="not well-formed: perhaps nobody looked at permissions",
        ),
        pytest.param(
            RegistryProtocolError("x", code="KmsException"), "unknown", id="another service's trouble"
        ),
        pytest.param(RegistryProtocolError("x"), "unknown", id="unheard-of"),
    ],
)
def test_an_answer(error: AnyarchError | None, expected: str) -> None:
    assert answer(error) == expected


@pytest.mark.parametrize("kind", [AuthenticationError, RegistryUnavailableError])
def test_who_cannot_ask_any_more_is_told_so(kind: type[AnyarchError]) -> None:
    with pytest.raises(kind):
        answer(kind("x", code="ExpiredTokenException"))
