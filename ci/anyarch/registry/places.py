"""Several stores at once, each with its own credential."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from anyarch.oci.reference import Repository
from anyarch.registry.stores import LAYOUT_PREFIX, open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping

    from anyarch.registry.credential import Credential
    from anyarch.registry.stores import OpenedStore


@asynccontextmanager
async def open_stores(
    destination: str,
    others: Iterable[str],
    *,
    insecure: Collection[str] = (),
    credential: Credential | None = None,
    profiles: Mapping[str, str] | None = None,
    waiting: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Mapping[str, OpenedStore]]:
    """The destination and other places, by the words that named them; closed at the end.

    Args:
        destination: As in ``open_store``.
        others: Further ones.
        insecure: As in ``open_store``.
        credential: For the destination's registry, and for no other; if that is a layout, for the only
            registry among the others. Everywhere else counts what ``docker login`` left, or AWS hands out.
        profiles: The AWS profile to ask with, by registry; the environment's where it is empty or missing.
        waiting: As in ``open_store``.

    Raises:
        UsageError: one of them is no destination.
    """
    names = list(dict.fromkeys([destination, *others]))
    hosts = {name: _host(name) for name in names}
    registries = {host for host in hosts.values() if host}
    trusted = hosts[destination] or (registries.pop() if len(registries) == 1 else "")
    async with AsyncExitStack() as stack:
        stores: dict[str, OpenedStore] = {}
        for name in names:
            shown = credential if hosts[name] and hosts[name] == trusted else None
            profile = (profiles or {}).get(hosts[name], "")
            store = open_store(
                name, insecure=insecure, credential=shown, aws_profile=profile, waiting=waiting
            )
            stores[name] = await stack.enter_async_context(store)
        yield stores


def _host(name: str) -> str:
    """The registry of a destination; empty for a layout."""
    return "" if name.startswith(LAYOUT_PREFIX) else Repository.parse(name).host
