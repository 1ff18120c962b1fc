"""What tags point at: before they move, and afterwards."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from anyarch.errors import LostRaceError, RegistryProtocolError
from anyarch.release.parallel import in_parallel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anyarch.oci.digest import Digest
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store

# Registries with replicas answer from before a write for a moment.
READ_BACK_DELAYS_SECONDS: Final = (0.0, 0.1, 0.4, 1.0, 2.0)


async def tag_states(store: Store, tags: Sequence[Tag]) -> dict[Tag, Digest | None]:
    """What each tag points at now."""
    distinct = list(dict.fromkeys(tags))
    heads = await in_parallel([partial(store.head, tag) for tag in distinct])
    return {tag: head.digest if head else None for tag, head in zip(distinct, heads, strict=True)}


async def read_back(store: Store, expected: Digest, before: Mapping[Tag, Digest | None]) -> None:
    """See that every tag points at what we wrote.

    Args:
        store: Where.
        expected: What they were moved to.
        before: The tags, and what each pointed at before.

    Raises:
        LostRaceError: a tag points elsewhere: somebody else moved it.
        RegistryProtocolError: the store took the write, but does not show it.
    """
    await in_parallel([partial(_read_back, store, tag, expected, before[tag]) for tag in before])


async def _read_back(store: Store, tag: Tag, expected: Digest, previous: Digest | None) -> None:
    found: Digest | None = None
    for delay_seconds in READ_BACK_DELAYS_SECONDS:
        await anyio.sleep(delay_seconds)
        head = await store.head(tag)
        found = head.digest if head else None
        if found == expected:
            return
        if found not in {None, previous}:
            raise LostRaceError(
                f"{store.name}:{tag}: expected {expected}, found {found}: somebody else moved it",
                hint="find out which of the two releases is wanted; move it again to make it ours",
                tag=str(tag),
            )
    raise RegistryProtocolError(
        f"{store.name}:{tag}: the registry took {expected}, but still gives {found or 'nothing'}",
        hint="somebody moved it back, or the registry's replicas lag; look who else publishes, and try again",
        tag=str(tag),
    )
