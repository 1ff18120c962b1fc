"""Where the images of a merge are, and what has to be brought from there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from anyarch.release.offenders import same_place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anyarch.oci.digest import Digest
    from anyarch.oci.store import Store
    from anyarch.release.record import Record
    from anyarch.release.released import Release


class Origins:
    """Which of several places each record's image is in.

    Args:
        destination: Where all of them are to go.
        sources: Where they may be besides.
    """

    def __init__(self, destination: Store, sources: Iterable[Store]) -> None:
        self._destination = destination
        named = {each.name: each for each in sources}
        named.pop(destination.name, None)
        self._by_name = named
        self._of: dict[Record, Store] = {}

    @property
    def sources(self) -> tuple[Store, ...]:
        """All places but the destination."""
        return tuple(self._by_name.values())

    @property
    def elsewhere(self) -> bool:
        """Whether any of the records is about one of them."""
        return bool(self._of)

    def relocated(self, record: Record) -> Record:
        """The record as if its image had been brought; as it is where it may not come from."""
        source = self._source(record.repository)
        if source is None:
            return record
        relocated = replace(record, repository=self._destination.name)
        self._of[relocated] = source
        return relocated

    def loads(self, release: Release) -> list[tuple[Store, list[Digest]]]:
        """What to bring from each place for a release: its images, with what came around them."""
        wanted: dict[str, list[Digest]] = {}
        for child in release.children:
            source = self._of.get(child.record)
            if source is None:
                continue
            referenced = child.record.referenced
            digests = wanted.setdefault(source.name, [])
            digests.append(child.record.image.digest)
            digests += [each.digest for each in referenced.attestations] if referenced else []
            index = referenced.index if referenced else None
            if index is not None and index.digest == release.digest:
                digests.append(index.digest)  # for its own signatures
        return [(self._by_name[name], digests) for name, digests in wanted.items()]

    def _source(self, repository: str) -> Store | None:
        """The place that a record means; None: the destination, or one that nobody named."""
        if repository == self._destination.name or repository in self._by_name:
            return self._by_name.get(repository)
        # Where a layout's directory lies is no identity: a layout that was named is the one.
        return next((each for name, each in self._by_name.items() if same_place(name, repository)), None)
