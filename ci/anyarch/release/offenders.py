"""What is wrong with a set of records and the images behind them: one sentence for each offender. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anyarch.errors import MergeRefusedError, PlanMismatchError
from anyarch.release import marks
from anyarch.release.config import CONFIG_NAME, LAYOUT_PREFIX
from anyarch.release.found import same_platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.oci.digest import Digest
    from anyarch.oci.platforms import Platform
    from anyarch.release.child import Child
    from anyarch.release.expectation import Expectation
    from anyarch.release.found import FoundImage
    from anyarch.release.record import Record


@dataclass
class Offenders:
    """``foreign`` ones belong to another plan, commit or repository; ``wrong`` ones are anything else.

    ``elsewhere`` are the repositories that some of the foreign ones are in; ``referenced`` says that
    references were given, which somebody chose and nobody built for this; ``configured``, that anyarch.toml
    said what is expected. ``narrower`` are the images to name in place of indexes that hold more.
    """

    foreign: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    referenced: bool = False
    configured: bool = False
    narrower: list[str] = field(default_factory=list)

    def raise_if_any(self) -> None:
        """Refuse, naming every one.

        Raises:
            PlanMismatchError: the only trouble is that things belong elsewhere.
            MergeRefusedError: there is other trouble.
        """
        if self.wrong:
            raise MergeRefusedError(
                "refused to merge: the images do not make up the expected index; no tag was touched",
                offenders=[*self.wrong, *self.foreign],
                hint=self._missing_hint(),
            )
        if self.foreign:
            raise PlanMismatchError(
                "refused to merge: records and plan do not belong together; no tag was touched",
                offenders=self.foreign,
                hint=self._hint(),
            )

    def _missing_hint(self) -> str:
        todo = "build the platforms named here again, then merge"
        hint = "name one good image for each platform" if self.referenced else todo
        if self.narrower:
            hint = f"an index gives all its platforms; for these alone, name {' '.join(self.narrower)}"
        return f"{hint}; {CONFIG_NAME} says which, --platform says others" if self.configured else hint

    def _hint(self) -> str:
        if self.elsewhere:
            flags = " ".join(f"--from {name}" for name in self.elsewhere)
            return f"if they are meant to come from there, {flags} says so and brings them along"
        return (
            "merge the records of one plan: anyarch run makes them, or build again with this plan; "
            "--mixed-revisions takes images of different commits where there is no plan"
        )


def find_offenders(children: Sequence[Child], expectation: Expectation) -> Offenders:
    """Every offender among the children: the set, the records, the images."""
    records = [child.record for child in children]
    offenders = Offenders(
        referenced=any(record.referenced for record in records), configured=expectation.configured
    )
    offenders.narrower += _narrower(records, expectation)
    offenders.wrong += _wrong_set([record.platform for record in records], records, expectation)
    if expectation.has_plan:
        offenders.foreign += _not_of_the_plan(records, expectation)
    elif not expectation.mixed:
        offenders.foreign += _disagreeing(children)
    offenders.foreign += _elsewhere(records, expectation)
    offenders.elsewhere += _other_places(records, expectation)
    for child in children:
        name = child.record.name
        offenders.wrong += [f"{name}: {problem}" for problem in child.problems]
        if child.found is not None:
            offenders.wrong += [f"{name}: {lie}" for lie in _lies(child.record, child.found)]
            offenders.foreign += [f"{name}: {what}" for what in _foreign_marks(child, expectation)]
    return offenders


def is_elsewhere(record: Record, repository: str) -> bool:
    """Whether a record is about another repository."""
    return not same_place(record.repository, repository)


def same_place(one: str, other: str) -> bool:
    """Equal, or two layouts: where a layout's directory lies is no identity."""
    return one == other or (one.startswith(LAYOUT_PREFIX) and other.startswith(LAYOUT_PREFIX))


def _wrong_set(found: Sequence[Platform], records: Sequence[Record], expectation: Expectation) -> list[str]:
    by_platform: dict[Platform, list[Record]] = defaultdict(list)
    for record in records:
        by_platform[record.platform].append(record)
    offenders = [
        f"{each.platform}: missing; expected one image for it, found none"
        for each in expectation.platforms or ()
        if each.required and not any(same_platform(each.platform, one) for one in found)
    ]
    for platform, same in by_platform.items():
        if len(same) > 1:
            what = ", ".join(f"{record.source or 'a record'} ({record.image.digest})" for record in same)
            offenders.append(f"{platform}: expected one image, found {len(same)}: {what}")
    if expectation.platforms is not None:
        known = [each.platform for each in expectation.platforms]
        offenders += [
            f"{record.name}: not expected; expected only {', '.join(map(str, known))}"
            for record in records
            if not any(same_platform(record.platform, each) for each in known)
        ]
    if not records:
        offenders.append("there is no image at all: an index of nothing is not published")
    return offenders


def _narrower(records: Sequence[Record], expectation: Expectation) -> list[str]:
    """The expected images of indexes that hold others besides, as references to them alone."""
    if expectation.platforms is None:
        return []
    known = [each.platform for each in expectation.platforms]
    wanted = {record: any(same_platform(record.platform, each) for each in known) for record in records}
    wide = {record.source for record, known in wanted.items() if record.referenced and not known}
    return [
        f"{record.referenced.place}@{record.image.digest}"
        for record, known in wanted.items()
        if known and record.referenced and record.source in wide
    ]


def _not_of_the_plan(records: Sequence[Record], expectation: Expectation) -> list[str]:
    offenders = []
    for record in records:
        for what, expected, found in (
            ("plan", expectation.plan_digest, record.plan),
            ("revision", expectation.revision, record.revision),
        ):
            if expected != found:
                offenders.append(f"{record.name}: expected {what} {_said(expected)}, found {_said(found)}")
    return offenders


def _disagreeing(children: Sequence[Child]) -> list[str]:
    """Without a plan the records are each other's witness; an image without one may know nothing.

    Where no record says anything, the images' annotations are, and where those say nothing, their labels.
    """
    offenders = []
    for what, mark in (("plan", marks.PLAN), ("revision", marks.REVISION)):
        recorded = {child.record.name: getattr(child.record, what) for child in children}
        silent = {child.record.name for child in children if child.record.referenced}
        values = {name: value for name, value in recorded.items() if value is not None or name not in silent}
        where = "record"
        if not any(values.values()):
            values, where = _marked(children, mark), "image"
        if len(set(values.values())) > 1:
            offenders += [
                f"{name}: expected the same {what} in every {where}, found {_said(value)}"
                for name, value in values.items()
            ]
    return offenders


def _marked(children: Sequence[Child], mark: str) -> dict[str, str]:
    """What the images themselves say, those that do; labels may be a base image's, so they come last."""
    images = {child.record.name: child.found for child in children if child.found is not None}
    annotated = {name: found.manifest.annotations.get(mark) for name, found in images.items()}
    labelled = {name: found.labels.get(mark) for name, found in images.items()}
    said = annotated if any(annotated.values()) else labelled
    return {name: word for name, word in said.items() if word}


def _other_places(records: Sequence[Record], expectation: Expectation) -> list[str]:
    named = [record.repository for record in records]
    named += [expectation.destination] if expectation.destination else []
    return [name for name in dict.fromkeys(named) if not same_place(name, expectation.repository)]


def _elsewhere(records: Sequence[Record], expectation: Expectation) -> list[str]:
    offenders = [
        f"{record.name}: expected an image in {expectation.repository}, found one in {record.repository}"
        for record in records
        if is_elsewhere(record, expectation.repository)
    ]
    planned = expectation.destination
    if planned is not None and not same_place(planned, expectation.repository):
        offenders.append(f"the plan: expected a merge in {planned}, this one is in {expectation.repository}")
    return offenders


def _lies(record: Record, found: FoundImage) -> list[str]:
    """Where record, manifest, descriptor and config contradict one another."""
    claims: list[tuple[str, object, object]] = [
        ("media type", record.image.media_type, found.root.media_type),
        ("size", record.image.size, found.root.size),
        ("config", record.config.digest, found.manifest.config.digest),
        ("config size", record.config.size, found.manifest.config.size),
    ]
    lies = [
        f"its record says {what} {expected}, found {real} in {found.root.digest}"
        for what, expected, real in claims
        if expected != real
    ]
    real = found.platform
    if not same_platform(real, record.platform):
        lies.append(
            f"expected an image for {record.platform}, but the config of {found.root.digest} says {real}"
        )
    inside = found.descriptor.platform
    if inside is not None and not same_platform(inside, real):
        lies.append(f"its index says {inside}, but its config says {real}")
    execution = found.manifest.annotations.get(marks.EXECUTION)
    if execution not in {None, "native", "emulated"}:
        lies.append(f"expected an image that says native or emulated, found {_said(execution)}")
    elif execution and record.execution and execution != record.execution:
        lies.append(f"its record says it was built {record.execution}, but the image says {execution}")
    return lies


def _foreign_marks(child: Child, expectation: Expectation) -> list[str]:
    """Marks that the engine wrote into the manifest: part of the bytes, so no mix-up can change them."""
    found = child.found
    if found is None:
        return []
    written = found.manifest.annotations
    plan: Digest | None = expectation.plan_digest or child.record.plan
    problems = []
    if plan is not None and written.get(marks.PLAN) != str(plan):
        problems.append(
            f"expected an image of plan {plan}, but {found.root.digest} belongs to "
            f"{_said(written.get(marks.PLAN))}"
        )
    revision = expectation.revision or child.record.revision
    if revision and written.get(marks.REVISION, revision) != revision:
        problems.append(
            f"expected revision {revision}, but {found.root.digest} is of {_said(written[marks.REVISION])}"
        )
    return problems


def _said(value: object) -> str:
    return "none" if value is None else str(value)[:160]
