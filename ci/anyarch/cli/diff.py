"""``anyarch diff``: are two images the same? Needs no engine and unpacks nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import anyio
from cyclopts import Parameter

from anyarch.cli import output, words
from anyarch.cli.access import Access
from anyarch.cli.targets import parse_target
from anyarch.errors import ImagesDifferError, UsageError
from anyarch.oci.reference import Repository
from anyarch.registry.stores import LAYOUT_PREFIX
from anyarch.release.diff import text
from anyarch.release.diff.ignore import Ignore
from anyarch.release.diff.images import DiffOptions, ImageAt, diff_images
from anyarch.release.diff.limits import GIB, Limits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anyarch.release.diff.model import ImagesDiff

_Reference = Annotated[
    str, Parameter(help="REPOSITORY:TAG, REPOSITORY@DIGEST, oci:DIR:TAG or oci:DIR@DIGEST.")
]


def diff(
    a: _Reference,
    b: _Reference,
    /,
    *,
    platform: Annotated[
        tuple[str, ...], Parameter(help="Compare this platform only; repeat for more. With none, all.")
    ] = (),
    ignore: Annotated[
        tuple[str, ...],
        Parameter(
            help="GLOB of paths, or of settings such as config.labels.*, that do not count; repeat for more."
        ),
    ] = (),
    timestamps: Annotated[bool, Parameter(help="Modification and creation times count too.")] = False,
    history: Annotated[bool, Parameter(help="The history in the config counts too.")] = False,
    all: Annotated[bool, Parameter(help="Every difference and every value in full.")] = False,  # noqa: A002
    max_gib: Annotated[
        float, Parameter(help="Refuse an image that is larger than this, uncompressed.")
    ] = Limits().content_bytes / GIB,
    insecure_registry: Annotated[
        tuple[str, ...], Parameter(help="HOST:PORT of a registry without TLS; repeat for more.")
    ] = (),
    format: Annotated[Literal["text", "json"], Parameter(help="For people or for programs.")] = "text",  # noqa: A002
) -> None:
    """Compare config and file tree of two images, for every platform, and name each difference.

    Exit status: 0 the same, 36 not the same; anything else: they could not be compared.

    Example: anyarch diff registry.example.com/shop/api:old registry.example.com/shop/api:new --ignore '*.pyc'
    """
    if not max_gib > 0:
        raise UsageError(f"--max-gib {max_gib:g}: needs a number above 0")
    options = DiffOptions(
        platforms=words.platforms(platform),
        ignore=Ignore.parse(ignore),
        timestamps=timestamps,
        history=history,
        limits=Limits(content_bytes=int(max_gib * GIB)),
    )
    found = anyio.run(_compare, (a, b), Access.read(insecure_registry), options)
    if format == "json":
        output.say_json(found.to_fields())
    else:
        for line in text.lines(found, everything=all):
            output.say(line)
    if not found.same:
        raise ImagesDifferError(f"{a} and {b} are not the same: {text.summary(found)}")


async def _compare(refs: tuple[str, str], access: Access, options: DiffOptions) -> ImagesDiff:
    targets = [parse_target(ref) for ref in refs]
    places = [destination for destination, _ in targets]
    access = _for_one_registry(access, places)
    async with access.open_all(places[0], places[1:]) as stores:
        one, other = (
            ImageAt(store=stores[place], target=target, name=ref)
            for ref, (place, target) in zip(refs, targets, strict=True)
        )
        return await diff_images(one, other, options, on_event=output.note)


def _for_one_registry(access: Access, destinations: Iterable[str]) -> Access:
    """Without the environment's credential, unless there is one registry only: whose would it be?"""
    hosts = {Repository.parse(each).host for each in destinations if not each.startswith(LAYOUT_PREFIX)}
    return access if len(hosts) == 1 else replace(access, credential=None)
