"""Reading manifests into the graph of who needs whom."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from anyarch.errors import ContentError, NotFoundError
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import CONFIG_MAX_BYTES, Image, ImageConfig, Index
from anyarch.oci.media_type import CONFIG_TYPES, is_index
from anyarch.release.parallel import in_parallel
from anyarch.release.prune.age import CREATED, parse_time
from anyarch.release.prune.graph import Graph, Node

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.manifest import Manifest
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store
    from anyarch.release.prune.graph import Kind

# What tools without the referrers API tag: the specification's fallback, and cosign's .sig, .att, .sbom.
# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema
_ATTACHED: Final = re.compile(r"sha256-(?P<hex>[0-9a-f]{64})(?:\.[A-Za-z0-9_-]+)?", re.ASCII)


def attached_to(tag: Tag) -> Digest | None:
    """The digest that a tag's manifest is about, if its name says so."""
    match = _ATTACHED.fullmatch(tag.name)
    return None if match is None else Digest("sha256", match["hex"])


class Reader:
    """Reads each manifest once and keeps what the graph needs of it.

    Args:
        store: Where they are.
        blobs: Whether configs and layers count one by one, as in a layout.
        now: What manifests say about their age is held against it.
    """

    def __init__(self, store: Store, *, blobs: bool, now: datetime) -> None:
        self.absent: set[Digest] = set()
        self.faults: dict[Digest, str] = {}
        self._store = store
        self.blobs = blobs
        self._now = now
        self._nodes: dict[Digest, Node] = {}
        self._companions: defaultdict[Digest, set[Digest]] = defaultdict(set)
        self._about: defaultdict[Digest, set[Digest]] = defaultdict(set)
        self._configs: dict[Digest, Descriptor] = {}
        self._platforms: dict[Digest, str] = {}
        self._in_full: set[Digest] = set()

    @property
    def graph(self) -> Graph:
        """What was read so far."""
        return Graph(nodes=self._nodes, companions=self._companions)

    async def read_tag(self, tag: Tag) -> Manifest:
        """What a tag points at, with everything that it needs.

        Raises:
            ContentError: it is nothing that we can read.
            NotFoundError: there is no such tag.
        """
        manifest = await self._store.get(tag)
        subject = attached_to(tag)
        if subject is not None:
            self._about[manifest.digest].add(subject)
        await self.read(self._take(manifest, images=self.blobs), images=self.blobs)
        return manifest

    async def read(self, digests: Iterable[Digest], *, images: bool) -> None:
        """Read manifests with everything that they need.

        What is not there is noted in ``absent``, what cannot be read in ``faults``.

        Args:
            digests: Which.
            images: Whether the images of an index are read, too; who only asks what it needs sees them in
                the index.
        """
        todo = {digest for digest in digests if not self._known(digest, images=images)}
        while todo:
            found = await in_parallel([partial(self._get, digest) for digest in sorted(todo)])
            taken = [self._take(manifest, images=images) for manifest in found if manifest is not None]
            todo = {digest for each in taken for digest in each if not self._known(digest, images=images)}

    async def read_created(self, digest: Digest) -> None:
        """Ask an image's config when it was made, where the manifest does not say."""
        node, config = self._nodes.get(digest), self._configs.get(digest)
        if node is None or node.created is not None or config is None:
            return
        try:
            raw = await self._store.get_blob(config, max_bytes=CONFIG_MAX_BYTES)
            said = ImageConfig.from_bytes(raw, subject=str(config.digest)).document.get("created")
        except (ContentError, NotFoundError):
            return  # unknown, and kept
        self._nodes[digest] = replace(node, created=parse_time(said, now=self._now))

    def add_blob(self, digest: Digest, size: int | None) -> None:
        """Note something that is no manifest."""
        self.faults.pop(digest, None)
        self._nodes.setdefault(digest, Node(digest=digest, kind="blob", size=size))

    def add_referrer(self, subject: Digest, referrer: Descriptor) -> None:
        """Note that something is about ``subject``, as the registry tells."""
        said = parse_time(referrer.annotations.get(CREATED), now=self._now)
        node = Node(
            digest=referrer.digest, kind="artifact", size=referrer.size, about=(subject,), created=said
        )
        self._nodes.setdefault(referrer.digest, node)
        self._companions[subject].add(referrer.digest)

    def _known(self, digest: Digest, *, images: bool) -> bool:
        if digest in self.absent or digest in self.faults:
            return True
        node = self._nodes.get(digest)
        return node is not None and (not images or node.kind != "index" or digest in self._in_full)

    async def _get(self, digest: Digest) -> Manifest | None:
        try:
            return await self._store.get(digest)
        except NotFoundError:
            self.absent.add(digest)
        except ContentError as error:
            self.faults[digest] = error.what
        return None

    def _take(self, manifest: Manifest, *, images: bool) -> set[Digest]:
        """Note a manifest; what has to be read for it is returned."""
        about = set(self._about[manifest.digest])
        if manifest.subject is not None:
            about.add(manifest.subject.digest)
        for subject in about:
            self._companions[subject].add(manifest.digest)
        following = about.copy()
        if isinstance(manifest, Index):
            following |= self._take_children(manifest, images=images)
        self._nodes[manifest.digest] = Node(
            digest=manifest.digest,
            kind=self._kind(manifest),
            size=manifest.size,
            names=tuple(self._parts(manifest)),
            about=tuple(sorted(about)),
            content=_content(manifest),
            platform=self._platforms.get(manifest.digest, ""),
            created=parse_time(manifest.annotations.get(CREATED), now=self._now),
        )
        return following

    def _take_children(self, index: Index, *, images: bool) -> set[Digest]:
        if images:
            self._in_full.add(index.digest)
        for child in index.manifests:
            if child.is_attestation:
                self._platforms[child.digest] = "attestation"
                if child.attested is not None:
                    self._companions[child.attested].add(child.digest)
            elif child.platform is not None:
                self._platforms[child.digest] = str(child.platform)
        return {child.digest for child in index.manifests if images or is_index(child.media_type)}

    def _kind(self, manifest: Manifest) -> Kind:
        if not isinstance(manifest, Image):
            return "index"
        if manifest.config.media_type not in CONFIG_TYPES or manifest.artifact_type:
            return "artifact"
        self._configs[manifest.digest] = manifest.config
        return "image"

    def _parts(self, manifest: Manifest) -> list[Digest]:
        if isinstance(manifest, Index):
            return [child.digest for child in manifest.manifests]
        return list(_content(manifest)) if self.blobs else []


def _content(manifest: Manifest) -> dict[Digest, int]:
    if not isinstance(manifest, Image):
        return {}
    return {part.digest: part.size for part in (manifest.config, *manifest.layers)}
