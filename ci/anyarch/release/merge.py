"""The decision: do these images make up the expected index, and what are its bytes? Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyarch.oci.manifest import Index
from anyarch.oci.media_type import MediaType
from anyarch.release import marks
from anyarch.release.offenders import find_offenders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.platforms import Platform
    from anyarch.release.child import Child
    from anyarch.release.expectation import Expectation
    from anyarch.release.found import FoundImage
    from anyarch.release.record import Record


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The index to publish, its children in order, and the optional platforms that it lacks."""

    index: Index
    children: tuple[Child, ...]
    missing: tuple[Platform, ...]


def decide(children: Sequence[Child], expectation: Expectation) -> Decision:
    """Join the children into an index. The same children in any order give the same bytes.

    Raises:
        MergeRefusedError: they do not make up the expected index; every offender is listed.
        PlanMismatchError: they belong to another plan, revision or repository.
    """
    find_offenders(children, expectation).raise_if_any()
    ordered = tuple(sorted(children, key=lambda child: str(child.record.platform)))
    images = [child.found for child in ordered if child.found is not None]
    there = {child.record.platform for child in ordered}
    missing = sorted(
        (each.platform for each in expectation.platforms or () if each.platform not in there), key=str
    )
    descriptors = [
        *(_descriptor(image) for image in images),
        *(attestation for image in images for attestation in image.attestations),
    ]
    annotations = _annotations(ordered, missing)
    if _fits_docker(descriptors, missing):
        index = Index.build(descriptors, media_type=MediaType.DOCKER_LIST)
    else:
        index = Index.build(descriptors, annotations=annotations)
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


def _descriptor(image: FoundImage) -> Descriptor:
    """The child's descriptor: as its own index said it if it came in one, with the config's platform.

    The execution mark is lifted out of the manifest so that the index alone says what was emulated.
    """
    execution = image.manifest.annotations.get(marks.EXECUTION)
    said = {marks.EXECUTION: execution} if execution else {}
    return image.descriptor.with_platform(image.platform).with_annotations(said)


def _annotations(children: Sequence[Child], missing: Sequence[Platform]) -> dict[str, str]:
    record = children[0].record
    words = {
        marks.PLAN: None if record.plan is None else str(record.plan),
        marks.REVISION: record.revision,
        marks.MISSING: ",".join(map(str, missing)),
    }
    return {name: word for name, word in words.items() if word}


def _fits_docker(descriptors: Sequence[Descriptor], missing: Sequence[Platform]) -> bool:
    """Docker's list is for Docker's manifests only, and has no annotations to say anything with."""
    return not missing and all(
        each.media_type == MediaType.DOCKER_MANIFEST and not each.annotations for each in descriptors
    )
