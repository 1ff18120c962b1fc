"""Token servers that the user trusts with a registry's credential, though their names do not belong together.

From the environment only, never from anyarch.toml: a pull request may change that file, and must not be
able to say who else is shown a password (docs/decisions/0007).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from anyarch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE: Final = "ANYARCH_TOKEN_HOSTS"
_HOST: Final = r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]"
_PAIR: Final = re.compile(rf"(?P<registry>(?:{_HOST})(?::[0-9]{{1,5}})?)=(?P<token>{_HOST})", re.ASCII)


def trusted_token_hosts(registry: str, environ: Mapping[str, str]) -> frozenset[str]:
    """The hosts that may be shown the credential of one registry, and of no other.

    Args:
        registry: As in a reference: ``registry.example.com``, ``registry.example.com:5000``.
        environ: For ``ANYARCH_TOKEN_HOSTS``: ``REGISTRY=HOST``, separated by spaces or commas.

    Raises:
        UsageError: not that form.
    """
    found = set()
    for word in environ.get(VARIABLE, "").replace(",", " ").split():
        match = _PAIR.fullmatch(word)
        if match is None:
            raise UsageError(
                f"{VARIABLE}: {word[:160]!r} is not REGISTRY=HOST",
                hint=f"for example {VARIABLE}=registry.example.com=sso.example.net",
            )
        if match["registry"].lower() == registry.lower():
            found.add(match["token"].lower())
    return frozenset(found)
