"""From the word a user wrote to the store it means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from anyarch.errors import UsageError
from anyarch.oci.reference import Repository

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from anyarch.registry.credential import Credential, CredentialSource
    from anyarch.registry.layout import LayoutStore
    from anyarch.registry.requests import Observer
    from anyarch.registry.store import RegistryStore

    OpenedStore: TypeAlias = RegistryStore | LayoutStore

LAYOUT_PREFIX: Final = "oci:"


def open_store(
    destination: str,
    *,
    insecure: Collection[str] = (),
    token_hosts: Collection[str] = (),
    credential: Credential | CredentialSource | None = None,
    aws_profile: str = "",
    deadline_seconds: float = 120.0,
    observer: Observer | None = None,
    waiting: Callable[[str], None] = lambda _: None,
) -> OpenedStore:
    """The store of a destination. Nothing is contacted or read yet; use it as ``async with``.

    Args:
        destination: ``host/path``, or ``oci:DIR`` for a layout directory.
        insecure: Hosts (``host`` or ``host:port``) that speak plain HTTP; loopback always does.
        token_hosts: Further hosts that may be shown the registry's credential (its token server).
        credential: Used instead of what ``docker login`` left or AWS hands out; or where to ask for one.
        aws_profile: The profile to ask AWS with, for a registry of Amazon's without ``credential``.
        deadline_seconds: For one operation with all its tries.
        observer: Told of every request and its status.
        waiting: Told of a host that has not answered yet, once it takes long.

    Raises:
        UsageError: ``destination`` is neither.
    """
    if destination.startswith(LAYOUT_PREFIX):
        # Each kind is loaded only where it is used: they are most of a short command's start-up.
        from anyarch.registry.layout import LayoutStore  # noqa: PLC0415

        folder = destination.removeprefix(LAYOUT_PREFIX)
        if not folder:
            raise UsageError("oci: needs a directory", hint="for example oci:dist")
        return LayoutStore(Path(folder))
    repository = Repository.parse(destination)
    from anyarch.registry.client import Options  # noqa: PLC0415
    from anyarch.registry.store import RegistryStore  # noqa: PLC0415

    options = Options(
        insecure=insecure,
        token_hosts=token_hosts,
        credential=credential,
        aws_profile=aws_profile,
        deadline_seconds=deadline_seconds,
        observer=observer,
        waiting=waiting,
    )
    return RegistryStore(repository, options)
