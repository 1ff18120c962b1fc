"""Builds as the engine leaves them, and the records about them, for tests of merge and its callers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anyarch.oci.platforms import Platform
from anyarch.release import marks
from anyarch.release.config import BuildSettings
from anyarch.release.history import is_history_tag
from anyarch.release.plan import Plan, PlannedPlatform
from anyarch.release.record import Record

from tests.builders import BuiltImage, an_image, upload
from tests.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.oci.digest import Digest
    from anyarch.oci.reference import Tag

REPOSITORY = "registry.example.com/shop/api"
REVISION = "0123456789abcdef0123456789abcdef01234567"
THREE = ("linux/386", "linux/amd64", "linux/arm64")


def planned(platform: str, *, required: bool = True) -> PlannedPlatform:
    return PlannedPlatform(platform=Platform.parse(platform), required=required)


def a_plan(
    *platforms: str,
    optional: Sequence[str] = (),
    destination: str = REPOSITORY,
    **changes: Any,  # noqa: ANN401  fields of Plan
) -> Plan:
    """A plan for ``platforms``, or for three; those in ``optional`` are not required."""
    names = (*(platforms or THREE), *optional)
    plan = Plan(
        destination=destination,
        platforms=tuple(planned(name, required=name not in optional) for name in names),
        build=BuildSettings(args={"VERSION": "1.2.3"}),
        revision=REVISION,
    )
    return replace(plan, **changes)


def a_build(
    platform: str,
    *,
    plan: Plan | None = None,
    execution: str = "native",
    **more: Any,  # noqa: ANN401  arguments of an_image
) -> BuiltImage:
    """An image with the marks that the engine writes."""
    words = {marks.EXECUTION: execution}
    if plan is not None:
        words |= {marks.PLAN: str(plan.digest), marks.REVISION: plan.revision or ""}
    return an_image(platform, annotations=words, **more)


def a_record(
    build: BuiltImage,
    *,
    plan: Plan | None = None,
    **changes: Any,  # noqa: ANN401  fields of Record
) -> Record:
    """The honest record of a build."""
    record = Record(
        platform=build.platform,
        image=build.manifest.descriptor,
        config=build.manifest.config,
        repository=REPOSITORY,
        plan=plan.digest if plan else None,
        revision=plan.revision if plan else None,
        execution="native",
        source=f"records/{build.platform.slug}.json",
    )
    return replace(record, **changes)


async def a_store(*builds: BuiltImage, name: str = REPOSITORY) -> MemoryStore:
    """A store that holds the builds and has forgotten the calls that brought them."""
    store = MemoryStore(name=name)
    await upload(store, *builds)
    store.calls.clear()
    return store


async def three_builds(plan: Plan | None = None) -> tuple[MemoryStore, list[Record]]:
    """A store with three platforms' builds, and their records."""
    builds = [a_build(platform, plan=plan) for platform in THREE]
    return await a_store(*builds), [a_record(build, plan=plan) for build in builds]


def released(store: MemoryStore) -> dict[Tag, Digest]:
    """What the tags of releases point at; the histories beside them are left out."""
    return {tag: digest for tag, digest in store.tagged.items() if not is_history_tag(tag.name)}


def puts(store: MemoryStore) -> list[str]:
    """What was written as manifest, histories left out."""
    return [subject for name, subject in store.calls if name == "put" and not is_history_tag(subject)]
