"""From the word a user wrote to the store it means."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from anyarch.errors import UsageError
from anyarch.oci.reference import Repository

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping

    from anyarch.oci.store import Store
    from anyarch.registry.credentials import Credential, CredentialSource
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
    credential: Credential | None = None,
    aws_profile: str = "",
    deadline_seconds: float = 120.0,
    observer: Observer | None = None,
) -> OpenedStore:
    """The store of a destination. Nothing is contacted or read yet; use it as ``async with``.

    Args:
        destination: ``host/path``, or ``oci:DIR`` for a layout directory.
        insecure: Hosts (``host`` or ``host:port``) that speak plain HTTP; loopback always does.
        token_hosts: Further hosts that may be shown the registry's credential (its token server).
        credential: Used instead of what ``docker login`` left or AWS hands out.
        aws_profile: The profile to ask AWS with, for a registry of Amazon's without ``credential``.
        deadline_seconds: For one operation with all its tries.
        observer: Told of every request and its status.

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
        credential=credential or (_from_profile(repository.host, aws_profile) if aws_profile else None),
        deadline_seconds=deadline_seconds,
        observer=observer,
    )
    return RegistryStore(repository, options)


@asynccontextmanager
async def open_stores(
    destination: str,
    others: Iterable[str],
    *,
    insecure: Collection[str] = (),
    credential: Credential | None = None,
) -> AsyncIterator[Mapping[str, OpenedStore]]:
    """The destination and other places, by the words that named them; closed at the end.

    Args:
        destination: As in ``open_store``.
        others: Further ones.
        insecure: As in ``open_store``.
        credential: For the destination's registry, and for no other; if that is a layout, for the only
            registry among the others. Everywhere else counts what ``docker login`` left.

    Raises:
        UsageError: one of them is no destination.
    """
    names = list(dict.fromkeys([destination, *others]))
    hosts = {name: _host(name) for name in names}
    registries = {host for host in hosts.values() if host}
    trusted = hosts[destination] or (registries.pop() if len(registries) == 1 else "")
    async with AsyncExitStack() as stack:
        stores = {}
        for name in names:
            shown = credential if hosts[name] and hosts[name] == trusted else None
            store = open_store(name, insecure=insecure, credential=shown)
            stores[name] = await stack.enter_async_context(store)
        yield stores


def _host(name: str) -> str:
    """The registry of a destination; empty for a layout."""
    return "" if name.startswith(LAYOUT_PREFIX) else Repository.parse(name).host


def as_registry(store: Store) -> RegistryStore | None:
    """The store as a registry's repository; None if it is a layout or anything else.

    Loads nothing: before the client is there, no store can be one of its own.
    """
    module = sys.modules.get("anyarch.registry.store")
    inner: Store = getattr(store, "wrapped", store)  # a journal may stand before it
    return inner if module is not None and isinstance(inner, module.RegistryStore) else None


def _from_profile(host: str, aws_profile: str) -> CredentialSource:
    from anyarch.registry.credentials import find_credential  # noqa: PLC0415  few stores need it

    return partial(find_credential, host, aws_profile=aws_profile)
