"""``anyarch verify``: read a published tag back and check all of it. Needs no engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Literal

import anyio
from cyclopts import Parameter

from anyarch.cli import output, words
from anyarch.cli.targets import parse_target
from anyarch.registry.stores import open_store
from anyarch.release.verify import verify as check

if TYPE_CHECKING:
    from anyarch.release.verify import Verification


def verify(
    ref: Annotated[str, Parameter(help="REPOSITORY:TAG, REPOSITORY@DIGEST, oci:DIR:TAG or oci:DIR@DIGEST.")],
    /,
    *,
    platform: Annotated[
        tuple[str, ...],
        Parameter(help="Platform it must hold, and no others; repeat for more. With none, any set."),
    ] = (),
    insecure_registry: Annotated[
        tuple[str, ...], Parameter(help="HOST:PORT of a registry without TLS; repeat for more.")
    ] = (),
    format: Annotated[Literal["text", "json"], Parameter(help="For people or for programs.")] = "text",  # noqa: A002
) -> None:
    """Read an index back with everything it points at: every digest, size, platform and layer.

    Example: anyarch verify registry.example.com/shop/api:1.4.2 --platform linux/amd64 --platform linux/arm64
    """
    destination, target = parse_target(ref)
    expected = words.platforms(platform)

    async def work() -> Verification:
        store = open_store(
            destination,
            insecure=words.insecure_hosts(insecure_registry),
            credential=words.credential_from(os.environ),
        )
        async with store:
            return await check(store, target, platforms=expected)

    found = anyio.run(work)
    if format == "json":
        output.say_json(_document(found))
        return
    rows = [
        [
            str(each.platform),
            each.execution or output.UNKNOWN,
            output.size(each.total_bytes),
            str(each.digest),
        ]
        for each in found.children
    ]
    output.say(f"ok {ref} is {found.digest}")
    for line in output.table(("PLATFORM", "BUILT", "SIZE", "DIGEST"), rows, right=("SIZE",)):
        output.say(line)
    if found.missing:
        output.say(f"published without {', '.join(found.missing)}, which are optional")


def _document(found: Verification) -> dict[str, object]:
    return {
        "schema": 1,
        "repository": found.repository,
        "target": str(found.target),
        "digest": str(found.digest),
        "media_type": found.media_type,
        "platforms": [
            {
                "platform": str(each.platform),
                "digest": str(each.digest),
                "execution": each.execution,
                "size": each.total_bytes,
                "attestations": each.attestations,
            }
            for each in found.children
        ],
        "missing": list(found.missing),
    }
