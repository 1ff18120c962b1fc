"""Moving tags: fixed ones first, floating ones last, then every one is read back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from anyarch.errors import (
    ContentError,
    LostRaceError,
    RegistryError,
    RegistryProtocolError,
    RegistryUnavailableError,
)
from anyarch.release.parallel import in_parallel
from anyarch.release.tag_order import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anyarch.oci.digest import Digest
    from anyarch.oci.manifest import Manifest
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store

# Registries with replicas answer from before a write for a moment.
READ_BACK_DELAYS_SECONDS: Final = (0.0, 0.1, 0.4, 1.0, 2.0)


async def tag_states(store: Store, tags: Sequence[Tag]) -> dict[Tag, Digest | None]:
    """What each tag points at now."""
    distinct = list(dict.fromkeys(tags))
    heads = await in_parallel([partial(store.head, tag) for tag in distinct])
    return {tag: head.digest if head else None for tag, head in zip(distinct, heads, strict=True)}


async def move_tags(
    store: Store,
    manifest: Manifest,
    before: Mapping[Tag, Digest | None],
    *,
    on_moved: Callable[[Tag], None],
) -> None:
    """Point tags at a manifest that is already there, an index or a single image.

    A write in flight is finished even if the task is cancelled, none is started then. Tags of one group
    move at the same time; a floating tag only after every fixed one stands. ``read_back`` comes next.

    Args:
        store: Where.
        manifest: What they are to point at.
        before: The tags that must move, and what each pointed at.
        on_moved: Told as each tag's write is answered.

    Raises:
        RegistryError: a write failed; the message says which tags had moved.
    """
    moved: list[Tag] = []
    unsure: list[Tag] = []

    async def move(tag: Tag) -> None:
        try:
            with anyio.CancelScope(shield=True):  # bounded: every call of a store has a deadline
                await store.put(tag, manifest)
        except (RegistryUnavailableError, RegistryProtocolError, ContentError):
            unsure.append(tag)  # no refusal: what it did before its answer was lost, nobody knows
            raise
        moved.append(tag)
        on_moved(tag)

    for group in in_order(list(before)):
        try:
            await in_parallel([partial(move, tag) for tag in group])
        except RegistryError as error:
            raise _with_moved(error, moved, unsure, before) from error


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
        hint="try again; if it stays so, ask the registry's operator about replication",
        tag=str(tag),
    )


def _with_moved(
    error: RegistryError,
    moved: Sequence[Tag],
    unsure: Sequence[Tag],
    before: Mapping[Tag, Digest | None],
) -> RegistryError:
    """The same error, saying which tags had already moved and from where."""
    groups = {"tags that had moved before": moved, "moved or not, it did not say": unsure}
    found = [
        f"{what}: " + ", ".join(f"{tag} (was {before[tag] or 'not there'})" for tag in tags)
        for what, tags in groups.items()
        if tags
    ]
    said = "; ".join([*found, "the others are as they were"]) if found else "no tag was moved"
    hint = f"{error.hint}; {said}" if error.hint else said
    return type(error)(error.what, hint=f"{hint}; do the same again to finish", **error.facts)
