"""A merge inside the engine: images from the destination's repository, from another one, or both."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from anyarch.errors import UsageError
from anyarch.oci.reference import Reference, Repository
from anyarch.oci.store import Store
from anyarch.registry.bring import bring
from anyarch.release.assemble import Order, assemble
from anyarch.release.publish import Release
from anyarch.release.references import Reference as Named
from anyarch.release.references import check_once

from pipeline.place import Place


async def merged(
    place: Place, order: Order, references: Sequence[str] | None, sources: Sequence[str] | None
) -> Release:
    """Merge what was ordered, and what is named.

    Args:
        place: Where to.
        order: What to merge and by which rules, without the places.
        references: Images or indexes, as host/path:tag or host/path@digest.
        sources: Repositories that the records' images may be in besides.

    Raises:
        UsageError: a word that cannot be understood or is there twice, or nothing to merge.
        AnyarchError: as ``assemble``.
    """
    check_once(references or ())
    named = {word: Reference.parse(word) for word in references or ()}
    wanted = [str(Repository.parse(word)) for word in sources or ()]
    if not order.records and not named:
        raise UsageError("what to merge? neither --records nor --reference was given")
    here = str(place.repository)
    async with AsyncExitStack() as stack:
        stores: dict[str, Store] = {}
        for name in dict.fromkeys([here, *wanted, *(str(each.repository) for each in named.values())]):
            stores[name] = await stack.enter_async_context((await _beside(place, name)).store())
        listed = [
            Named(store=stores[str(each.repository)], target=each.target, name=word)
            for word, each in named.items()
        ]
        whole = replace(order, references=listed, sources=[stores[name] for name in wanted])
        return (await assemble(stores[here], whole, bring=bring)).release


async def _beside(place: Place, repository: str) -> Place:
    """Another repository. The account is shown to its own registry only; any other is read without one."""
    if Repository.parse(repository).host != place.repository.host:
        return await Place.of(repository, "", None, insecure=False)
    return await Place.of(repository, place.username, place.password, insecure=place.insecure)
