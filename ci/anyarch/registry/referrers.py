"""Who is about a digest: signatures, attestations, bills of materials.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from anyarch.errors import NotFoundError, RegistryError, RegistryProtocolError
from anyarch.oci.manifest import MANIFEST_MAX_BYTES, Index, Manifest
from anyarch.oci.media_type import MediaType
from anyarch.registry.requests import Request
from anyarch.registry.tags import next_page

if TYPE_CHECKING:
    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.digest import Digest
    from anyarch.registry.store import RegistryStore
    from anyarch.registry.urls import Url
    from anyarch.registry.wire import Answer

_PAGES_MAX: Final = 100
_REFERRERS_MAX: Final = 5_000


async def list_referrers(store: RegistryStore, digest: Digest) -> list[Descriptor] | None:
    """Every manifest whose subject is ``digest``; None if the registry has no such list.

    Without it, clients keep referrers under the tag ``sha256-…``, which is listed as any other.

    Raises:
        RegistryError: refused, no answer, or a malformed one.
    """
    client, path = store.client, store.repository.path
    subject = f"referrers of {store.name}@{digest}"
    scopes = frozenset({f"repository:{path}:pull"})

    async def read(answer: Answer) -> tuple[tuple[Descriptor, ...] | None, Url | None]:
        if answer.header("content-type").partition(";")[0].strip() != MediaType.OCI_INDEX:
            return None, None  # a page for people: some proxies answer 200 to everything
        raw = await answer.read(MANIFEST_MAX_BYTES, subject=subject)
        index = Manifest.from_bytes(raw, media_type=MediaType.OCI_INDEX, subject=subject)
        return index.manifests if isinstance(index, Index) else None, next_page(client, answer, subject)

    url = client.url(f"{path}/referrers/{digest}")
    found: list[Descriptor] = []
    for _ in range(_PAGES_MAX):
        request = Request(method="GET", url=url, kind="manifest", headers={"Accept": MediaType.OCI_INDEX})
        try:
            page, following = await client.call(request, read, scopes=scopes, subject=subject)
        except RegistryError as error:
            if isinstance(error, NotFoundError) or error.facts.get("status") in {400, 405, 501}:
                return None
            raise
        if page is None:
            return None
        found += page
        if len(found) > _REFERRERS_MAX:
            raise RegistryProtocolError(f"{subject}: more than the {_REFERRERS_MAX} allowed")
        if following is None:
            return found
        url = following
    raise RegistryProtocolError(f"{subject}: more than {_PAGES_MAX} pages")
