"""Bring images to another store with all that refers to them: what ``anyarch merge`` does before it writes.

Along come the attestations of an index, OCI 1.1 referrers of every manifest and the referrers of those,
and cosign's signature tags. What is only attached and cannot come is a warning; what belongs to an image
and cannot come is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import zip_longest
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import anyio

from anyarch.errors import ContentError, NotFoundError
from anyarch.oci.reference import Tag
from anyarch.oci.write import Brought, Write
from anyarch.registry.attached import Referrers, fallback_tag
from anyarch.registry.copy import Load, each_of, pending, ship, survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.digest import Digest
    from anyarch.oci.manifest import Manifest
    from anyarch.oci.store import Store

_REFERRERS_MAX: Final = 1_000
_DEPTH_MAX: Final = 3  # a signature of a bill of materials of an image
# https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
_SIGNATURE_SUFFIXES: Final = ("sig", "att", "sbom")


async def bring(
    source: Store,
    target: Store,
    digests: Sequence[Digest],
    *,
    dry_run: bool = False,
    on_write: Callable[[Write], None] = lambda _: None,
) -> Brought:
    """Bring manifests, what they name and what refers to them. What is there already is not written again.

    Args:
        source: Where they are.
        target: Where they should be too.
        digests: Images, attestations and indexes.
        dry_run: Look only; the writes returned are those that would be made.
        on_write: Told of every write when it is done.

    Raises:
        RegistryError: something is missing at the source, or a store refuses.
    """
    load = await survey(source, target, digests)
    followers = _Followers(source, target)
    await followers.find(load.manifests)
    await followers.find_signatures(load.manifests)
    attached = followers.load(beside=load)
    if dry_run:
        writes = [*await pending(load), *await pending(attached)]
        writes += [_put(target, *each) for each in await followers.to_tag()]
    else:
        writes = [*await ship(load, on_write=on_write), *await ship(attached, on_write=on_write)]
        for tag, manifest in await followers.to_tag():  # asked now: a new repository could not tell before
            with anyio.CancelScope(shield=True):  # bounded: every call of a store has a deadline
                await target.put(tag, manifest)
            writes.append(_put(target, tag, manifest))
            on_write(writes[-1])
    return Brought(writes=tuple(writes), warnings=tuple(followers.warnings))


def _put(target: Store, tag: Tag, manifest: Manifest) -> Write:
    return Write(action="put", what=manifest.digest, where=f"{target.name}:{tag}", size=manifest.size)


@dataclass
class _Followers:
    """What refers to some manifests at the source, and how it gets to the target.

    ``referrers`` are those found for each subject, ``tagged`` the manifests to put under a tag.
    """

    source: Store
    target: Store
    referrers: dict[Digest, dict[Digest, Manifest]] = field(default_factory=dict)
    tagged: list[tuple[Tag, Manifest]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _loads: list[Load] = field(default_factory=list)

    async def find(self, subjects: Iterable[Digest]) -> None:
        """Look for referrers of the subjects, for referrers of those, and so on."""
        at_source = Referrers(self.source)
        wanted = [*subjects]
        for _ in range(_DEPTH_MAX):
            listed: list[tuple[Digest, Descriptor]] = []

            async def ask(subject: Digest, listed: list[tuple[Digest, Descriptor]] = listed) -> None:
                try:
                    listed += [(subject, each) for each in await at_source.of(subject)]
                except ContentError as error:
                    self._warn(f"the referrers of {subject} cannot be listed: {error.what}")

            await each_of(wanted, ask)
            if len(listed) > _REFERRERS_MAX:
                raise ContentError(f"{self.source.name}: more than the {_REFERRERS_MAX} referrers allowed")
            await each_of(listed, self._take)
            wanted = sorted({each.digest for _, each in listed} - set(wanted) - self.referrers.keys())
            if not wanted:
                return

    async def find_signatures(self, subjects: Iterable[Digest]) -> None:
        """Look for signatures under cosign's tags. Where the target has such a tag, it stays."""
        tags = [
            Tag(f"{fallback_tag(subject)}.{suffix}") for subject in subjects for suffix in _SIGNATURE_SUFFIXES
        ]
        found: dict[Tag, Manifest] = {}

        async def look(tag: Tag) -> None:
            theirs = await self.source.head(tag)
            if theirs is None:
                return
            ours = await self.target.head(tag)
            if ours is None:
                manifest = await self._survey(theirs.digest, subject=None)
                if manifest is not None:
                    found[tag] = manifest
            elif ours.digest != theirs.digest:
                self._warn(f"the tag {tag} was not brought: there is another at {self.target.name}")

        await each_of(tags, look)
        self.tagged += [(tag, found[tag]) for tag in tags if tag in found]

    def load(self, *, beside: Load) -> Load:
        """All of it as one load, without the blobs that come anyway."""
        blobs = {blob.digest: blob for load in self._loads for blob in load.blobs}
        coming = {blob.digest for blob in beside.blobs}
        levels = zip_longest(*(load.levels for load in self._loads), fillvalue={})
        lacking = {digest for load in self._loads for digest in load.lacking}
        return replace(
            beside,
            levels=tuple(
                dict(sorted((each for level in same for each in level.items()), key=itemgetter(0)))
                for same in levels
            ),
            lacking=frozenset(lacking) - beside.lacking,
            blobs=tuple(blob for digest, blob in sorted(blobs.items()) if digest not in coming),
        )

    async def to_tag(self) -> list[tuple[Tag, Manifest]]:
        """What must be put under tags: lists of referrers, where the target keeps none; signatures."""
        at_target = Referrers(self.target)
        found: list[tuple[Tag, Manifest]] = []
        for subject in sorted(self.referrers):
            index = await at_target.unlisted(subject, self.referrers[subject])
            if index is not None:
                found.append((fallback_tag(subject), index))
        return [*found, *self.tagged]

    async def _take(self, pair: tuple[Digest, Descriptor]) -> None:
        subject, descriptor = pair
        manifest = await self._survey(descriptor.digest, subject=subject)
        if manifest is not None:
            self.referrers.setdefault(subject, {})[descriptor.digest] = manifest

    async def _survey(self, digest: Digest, *, subject: Digest | None) -> Manifest | None:
        """The manifest, if all of it can come."""
        try:
            load = await survey(self.source, self.target, [digest])
            manifest = load.levels[0][digest]
            if subject is not None:
                _check_subject(manifest, subject)
            await _check_blobs(load)
        except (NotFoundError, ContentError) as error:
            which = f", which refers to {subject}," if subject else ""
            self._warn(f"{digest}{which} was not brought: {error.what}")
            return None
        self._loads.append(load)
        return manifest

    def _warn(self, words: str) -> None:
        self.warnings.append(f"{self.source.name}: {words}")


def _check_subject(manifest: Manifest, subject: Digest) -> None:
    about = manifest.subject
    if about is None or about.digest != subject:
        raise ContentError(f"it is about {about.digest if about else 'nothing'}")


async def _check_blobs(load: Load) -> None:
    for blob in load.blobs:
        if not (await load.target.has_blob(blob) or await load.source.has_blob(blob)):
            raise NotFoundError(f"its blob {blob.digest} is not there")
