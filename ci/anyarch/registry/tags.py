"""The tags of a repository, page by page.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-tags
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from anyarch.errors import NotFoundError, RegistryProtocolError
from anyarch.oci import strict_json
from anyarch.registry.links import next_link
from anyarch.registry.requests import Request

if TYPE_CHECKING:
    from anyarch.registry.client import Client
    from anyarch.registry.urls import Url
    from anyarch.registry.wire import Answer

_PAGE: Final = 1000  # ECR refuses more
_PAGE_MAX_BYTES: Final = 4 * 1024 * 1024
_PAGES_MAX: Final = 1000
_TAG_MAX_CHARACTERS: Final = 128  # the specification's own limit
_TAGS_MAX: Final = 1_000_000  # ECR's own limit is 100,000 images


async def list_tags(client: Client, path: str, *, scopes: frozenset[str]) -> list[str]:
    """Every tag of a repository, sorted; none if it does not exist.

    Raises:
        RegistryProtocolError: the list is malformed, endless, or continues at another origin.
    """
    subject = f"tags of {client.host}/{path}"

    async def read(answer: Answer) -> tuple[set[str], Url | None]:
        raw = await answer.read(_PAGE_MAX_BYTES, subject=subject)
        document = strict_json.loads_object(raw, subject=subject, max_bytes=_PAGE_MAX_BYTES)
        page = document.get("tags") or []
        if not isinstance(page, list) or not all(isinstance(tag, str) for tag in page):
            raise RegistryProtocolError(f"{subject}: not a list of strings")
        if any(len(tag) > _TAG_MAX_CHARACTERS for tag in page):  # a million of them must fit into memory
            raise RegistryProtocolError(f"{subject}: a tag of more than {_TAG_MAX_CHARACTERS} characters")
        return set(page), next_page(client, answer, subject)

    url: Url | None = client.url(f"{path}/tags/list?n={_PAGE}")
    found: set[str] = set()
    asked: set[Url] = set()
    for _ in range(_PAGES_MAX):
        if url is None:
            return sorted(found)
        if url in asked or len(found) > _TAGS_MAX:
            raise RegistryProtocolError(f"{subject}: the list goes round in circles, or never ends")
        asked.add(url)
        request = Request(method="GET", url=url, kind="tags")
        try:
            page, url = await client.call(request, read, scopes=scopes, subject=subject)
        except NotFoundError:
            if found:
                raise
            return []
        found |= page
    raise RegistryProtocolError(f"{subject}: more than {_PAGES_MAX} pages")


def next_page(client: Client, answer: Answer, subject: str) -> Url | None:
    """Where a list goes on, at the same origin; None if this was all of it.

    Raises:
        RegistryProtocolError: it goes on elsewhere.
    """
    following = next_link(answer.headers("link"))
    if following is None:
        return None
    url = answer.url.join(following)
    if url.origin != client.origin:  # CVE-2026-85732
        raise RegistryProtocolError(f"{subject}: the next page is elsewhere: {url.redacted}")
    return url
