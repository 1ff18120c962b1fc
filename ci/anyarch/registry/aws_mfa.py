"""Roles that want a code of a device (MFA): it is typed once, and remembered where the AWS CLI remembers it.

https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-role.html#cli-configure-role-mfa
"""

from __future__ import annotations

import getpass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from botocore.utils import JSONFileCache

from anyarch.errors import AuthenticationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from botocore.session import Session

_CACHE: Final = Path("~/.aws/cli/cache")
_TERMINAL: Final = Path("/dev/tty")  # where getpass asks; its second choice is whatever standard input is


def remember(session: Session) -> None:
    """Let a session find the roles that the AWS CLI took with a code, and leave it those that it takes."""
    if not any("mfa_serial" in profile for profile in _chain(session)):
        return
    provider: Any = session.get_component("credential_provider").get_provider("assume-role")
    provider.cache = JSONFileCache(str(_CACHE.expanduser()))
    # It has no public name: https://github.com/boto/botocore/blob/develop/botocore/credentials.py
    provider._prompter = partial(_ask, session.profile or "default")  # noqa: SLF001


def _chain(session: Session) -> Iterator[dict[str, str]]:
    """The profile, and those whose credentials it takes its role with."""
    profiles: dict[str, Any] = session.full_config.get("profiles", {})
    name, seen = session.profile or "default", set[str]()
    while name in profiles and name not in seen:
        seen.add(name)
        yield profiles[name]
        name = profiles[name].get("source_profile", "")


def _ask(profile: str, prompt: str) -> str:
    try:
        with _TERMINAL.open("r+b", buffering=0):
            pass
    except OSError:
        device = prompt.removeprefix("Enter MFA code for ").rstrip(": ")
        raise AuthenticationError(
            f"the AWS profile {profile} wants the code of {device}, and there is no terminal to type it in",
            hint=f"type it where there is one: aws sts get-caller-identity --profile {profile}; "
            "that session counts here until it ends. In CI, use a role that wants no code",
        ) from None
    return getpass.getpass(prompt)
