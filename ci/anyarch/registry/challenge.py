"""``WWW-Authenticate``: what a registry wants to see, read by the grammar of RFC 9110 §11.

Splitting at commas or at ``realm="`` is how clients were made to send tokens to strangers
(CVE-2026-12566), hence a parser that refuses what the grammar does not allow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from anyarch.errors import RegistryProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HEADER_MAX_CHARACTERS: Final = 8 * 1024
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SPACE: Final = r"[ \t]*"
_SCHEME: Final = re.compile(rf"({_WORD})")
_TOKEN68: Final = re.compile(rf"[ ]+([A-Za-z0-9._~+/-]+=*){_SPACE}(?=,|\Z)")
_QUOTED: Final = r'"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t -~\x80-\xff])*)"'
_PARAMETER: Final = re.compile(rf"({_WORD}){_SPACE}={_SPACE}(?:({_WORD})|{_QUOTED}){_SPACE}(?=,|\Z)")
_SEPARATORS: Final = re.compile(rf"{_SPACE}(?:,{_SPACE})*")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate. Scheme and parameter names are lower case, values as sent."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False)
    token68: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))


def parse_challenges(headers: Sequence[str]) -> tuple[Challenge, ...]:
    """Read every challenge of an answer's ``WWW-Authenticate`` headers, in order.

    Raises:
        RegistryProtocolError: a header is not what RFC 9110 allows, too long, or says a thing twice.
    """
    return tuple(challenge for header in headers for challenge in _parse_header(header))


def _parse_header(text: str) -> list[Challenge]:
    if len(text) > _HEADER_MAX_CHARACTERS:
        raise RegistryProtocolError("the registry's WWW-Authenticate header is too long")
    found = []
    position = _skip_separators(text, 0)
    while position < len(text):
        challenge, position = _parse_challenge(text, position)
        found.append(challenge)
    return found


def _parse_challenge(text: str, position: int) -> tuple[Challenge, int]:
    scheme = _SCHEME.match(text, position)
    if scheme is None:
        raise _malformed(position)
    position = scheme.end()
    token68 = _TOKEN68.match(text, position)
    if token68 is not None:
        return Challenge(scheme[1].lower(), {}, token68[1]), _skip_separators(text, token68.end())
    spaced = text.startswith(" ", position)
    end = _skip_separators(text, position)
    ended = end == len(text) or "," in text[position:end]
    parameters: dict[str, str] = {}
    # Only a scheme and a space open a parameter list: "Basic,realm=x" is two things, one of them wrong.
    while spaced and (parameter := _PARAMETER.match(text, end)) is not None:
        name = parameter[1].lower()
        if name in parameters:
            raise _malformed(end)
        parameters[name] = parameter[2] or _ESCAPED.sub(r"\1", parameter[3] or "")
        end = _skip_separators(text, parameter.end())
    if not parameters and not ended:
        raise _malformed(end)
    return Challenge(scheme[1].lower(), parameters), end


def _skip_separators(text: str, position: int) -> int:
    match = _SEPARATORS.match(text, position)
    return match.end() if match else position


def _malformed(position: int) -> RegistryProtocolError:
    # Not quoted: what cannot be read may be what we sent, which is a secret.
    return RegistryProtocolError(
        f"the registry's WWW-Authenticate header is malformed at character {position + 1}"
    )
