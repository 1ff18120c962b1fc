"""``anyarch rollback``: point a tag at what it pointed at before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import anyio
from cyclopts import Parameter

from anyarch.cli import output, words
from anyarch.cli.targets import parse_target
from anyarch.errors import LostRaceError, UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.reference import Tag
from anyarch.registry.stores import open_store
from anyarch.release.verify import verify

if TYPE_CHECKING:
    from anyarch.oci.descriptor import Descriptor


def rollback(
    ref: Annotated[str, Parameter(help="REPOSITORY:TAG or oci:DIR:TAG.")],
    /,
    *,
    to: Annotated[str, Parameter(help="Digest to point it at, as anyarch run and merge print it.")],
    insecure_registry: Annotated[
        tuple[str, ...], Parameter(help="HOST:PORT of a registry without TLS; repeat for more.")
    ] = (),
) -> None:
    """Point a tag at a digest that is still there, after verifying that all of it is.

    Example: anyarch rollback registry.example.com/shop/api:latest --to sha256:2c26b4…
    """
    destination, tag = parse_target(ref)
    if not isinstance(tag, Tag):
        raise UsageError(f"{ref} names a digest; only a tag can be moved")
    digest = Digest.parse(to)

    async def work() -> Descriptor | None:
        store = open_store(
            destination,
            insecure=words.insecure_hosts(insecure_registry),
            credential=words.credential_from(os.environ),
        )
        async with store:
            await verify(store, digest)
            manifest, before = await store.get(digest), await store.head(tag)
            if before is None or before.digest != digest:
                with anyio.CancelScope(shield=True):  # bounded: every call of a store has a deadline
                    await store.put(tag, manifest)
            after = await store.head(tag)
        if after is None or after.digest != digest:
            found = after.digest if after else "nothing"
            raise LostRaceError(
                f"{ref}: expected {digest}, found {found}: somebody else moved it", tag=str(tag)
            )
        return before

    before = anyio.run(work)
    if before is not None and before.digest == digest:
        output.say(f"{ref} is {digest} already; nothing was written")
        return
    output.say(f"{ref} is {digest}" + (f", was {before.digest}" if before else ", was not there"))
