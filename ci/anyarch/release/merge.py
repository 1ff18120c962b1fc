"""The decision: do these images make up the expected index, and what are its bytes? Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from anyarch.oci.manifest import Index
from anyarch.oci.media_type import MediaType
from anyarch.release import marks
from anyarch.release.found import same_platform
from anyarch.release.offenders import find_offenders

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.platforms import Platform
    from anyarch.release.child import Child
    from anyarch.release.expectation import Expectation
    from anyarch.release.found import FoundImage
    from anyarch.release.record import Record

_OWN_FIELDS: Final = frozenset({"schemaVersion", "mediaType", "manifests", "annotations"})


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The index to publish, its children in order, and the optional platforms that it lacks."""

    index: Index
    children: tuple[Child, ...]
    missing: tuple[Platform, ...]


def decide(children: Sequence[Child], expectation: Expectation) -> Decision:
    """Join the children into an index. The same children in any order give the same bytes.

    References to all the images of one index give that very index, if it says what a plan wants said.

    Raises:
        MergeRefusedError: they do not make up the expected index; every offender is listed.
        PlanMismatchError: they belong to another plan, revision or repository.
    """
    find_offenders(children, expectation).raise_if_any()
    ordered = tuple(sorted(children, key=_place))
    images = [child.found for child in ordered if child.found is not None]
    missing = sorted(
        (
            each.platform
            for each in expectation.platforms or ()
            if not any(same_platform(each.platform, child.record.platform) for child in ordered)
        ),
        key=str,
    )
    index = None if missing else _listed_already(ordered, images)
    planned = {**expectation.annotations, **_annotations(ordered, missing)} if expectation.has_plan else {}
    if index is None or not planned.items() <= index.annotations.items():
        index = _build(ordered, images, missing, said=expectation.annotations)
    return Decision(index=index, children=ordered, missing=tuple(missing))


def newest_attempts(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Choose among records of one platform that are attempts of one CI run; the newest wins.

    Any other doubles are kept: the decision refuses them.

    Returns:
        The records to merge, and those that a newer attempt replaced.
    """
    attempts: dict[tuple[Platform, str | None], list[Record]] = defaultdict(list)
    for record in records:
        attempts[(record.platform, record.run_id)].append(record)
    chosen: list[Record] = []
    replaced: list[Record] = []
    for (_, run_id), same in attempts.items():
        numbers = [record.run_attempt for record in same]
        if run_id is None or None in numbers or len(set(numbers)) != len(numbers):
            chosen += same
            continue
        same.sort(key=lambda record: record.run_attempt or 0)
        chosen.append(same[-1])
        replaced += same[:-1]
    return chosen, replaced


def _place(child: Child) -> tuple[str, str, str]:
    """Where a child stands; versions of Windows share a name."""
    platform = child.record.platform
    return str(platform), platform.os_version, str(child.record.image.digest)


def _listed_already(children: Sequence[Child], images: Sequence[FoundImage]) -> Index | None:
    """The one index whose images these are: published as it is, its signatures stay true.

    A reference to an index gives all its images or none, so that none of them can be missing here.
    """
    referenced = [child.record.referenced for child in children]
    indexes = {each.index.digest: each.index for each in referenced if each is not None and each.index}
    if len(indexes) != 1 or not all(each is not None and each.index for each in referenced):
        return None
    # A descriptor without a platform is legal, and so is "Linux/AMD64": few readers can choose it.
    choosable = all(image.descriptor.is_choosable for image in images)
    return next(iter(indexes.values())) if choosable else None


def _build(
    children: Sequence[Child],
    images: Sequence[FoundImage],
    missing: Sequence[Platform],
    *,
    said: Mapping[str, str],
) -> Index:
    descriptors = [
        *(_descriptor(image) for image in images),
        *(attestation for image in images for attestation in image.attestations),
    ]
    indexes = [image.index for image in images]
    annotations, fields = _shared_annotations(indexes), _shared_fields(indexes)
    if not missing and not annotations and not fields and _are_dockers(descriptors):
        return Index.build(descriptors, media_type=MediaType.DOCKER_LIST)
    annotations = {**annotations, **said, **_annotations(children, missing)}
    return Index.build(descriptors, annotations=annotations, extra=fields)


def _descriptor(image: FoundImage) -> Descriptor:
    """The child's descriptor: as its own index said it if it came in one, with the config's platform.

    The execution mark is lifted out of the manifest so that the index alone says what was emulated.
    """
    execution = image.manifest.annotations.get(marks.EXECUTION)
    said = {marks.EXECUTION: execution} if execution else {}
    normal = image.platform.to_oci()
    # What the platform says besides, and what Windows' config may not know.
    more = {
        key: value
        for key, value in (image.descriptor.platform_fields or {}).items()
        if key not in {*normal, "variant"}
    }
    described = image.descriptor.with_platform(image.platform).with_annotations(said)
    return replace(described, platform_fields={**normal, **more}) if more else described


def _annotations(children: Sequence[Child], missing: Sequence[Platform]) -> dict[str, str]:
    plans = {child.record.plan for child in children}
    revisions = {child.record.revision for child in children}
    words = {
        marks.PLAN: str(plans.pop() or "") if len(plans) == 1 else "",
        marks.REVISION: revisions.pop() if len(revisions) == 1 else "",
        marks.MISSING: ",".join(map(str, missing)),
    }
    return {name: word for name, word in words.items() if word}


def _shared_annotations(indexes: Sequence[Index | None]) -> dict[str, str]:
    """What all the indexes that the images came in say alike; our own marks are set anew."""
    shared = _shared([{} if index is None else index.annotations for index in indexes])
    return {
        name: str(word)
        for name, word in shared.items()
        if not name.startswith(marks.PREFIX) and name != marks.REVISION
    }


def _shared_fields(indexes: Sequence[Index | None]) -> dict[str, object]:
    """The fields beyond those of every index (``subject``, ``artifactType`` …) that all have alike."""
    shared = _shared([{} if index is None else index.document for index in indexes])
    return {name: value for name, value in shared.items() if name not in _OWN_FIELDS}


def _shared(mappings: Sequence[Mapping[str, object]]) -> dict[str, object]:
    first, *others = mappings
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in others)
    }


def _are_dockers(descriptors: Sequence[Descriptor]) -> bool:
    """Docker's list is for Docker's manifests only, and has no annotations to say anything with."""
    return all(each.media_type == MediaType.DOCKER_MANIFEST and not each.annotations for each in descriptors)
