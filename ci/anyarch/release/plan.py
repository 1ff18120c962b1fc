"""The plan: what will be built, where and why. Made before anything runs, held against records at merge."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final, cast

from anyarch.errors import ContentError, PlanError, UsageError
from anyarch.oci import strict_json
from anyarch.oci.digest import Digest
from anyarch.oci.platforms import Platform
from anyarch.release.config import (
    BuildSettings,
    Config,
    Fallback,
    PlatformSettings,
    parse_destination,
    parse_engine_word,
    read_also,
    read_build,
)
from anyarch.release.fields import Fields
from anyarch.release.reserved import release_tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anyarch.release.tags.compute import Tags
    from anyarch.release.tags.context import Context

PLAN_MAX_BYTES: Final = 1024 * 1024
PLAN_SCHEMA: Final = 1
PLATFORMS_MAX: Final = 256  # also GitHub's limit for the jobs of one matrix
TAGS_MAX: Final = 1000
DEFAULT_DESTINATION: Final = "oci:dist"
DEFAULT_PLATFORMS: Final = (Platform("linux", "amd64"), Platform("linux", "arm64"))
REVISION_MAX_CHARACTERS: Final = 128


@dataclass(frozen=True, kw_only=True)
class PlannedPlatform:
    """One platform of a plan. ``why`` says who named it: ``anyarch.toml``, ``--platform``, ``default``."""

    platform: Platform
    engine: str | None = None
    runner: str | None = None
    required: bool = True
    fallback: Fallback = "emulate"
    why: str = "default"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be built and where it goes. ``destination`` is a repository or ``oci:DIR``.

    ``also`` are further ones, which get the release from there; ``changes`` is the digest of the files that
    are built and that ``revision`` does not answer for.
    """

    destination: str
    platforms: tuple[PlannedPlatform, ...]
    tags: tuple[str, ...] = ()
    build: BuildSettings = field(default_factory=BuildSettings)
    revision: str | None = None
    changes: Digest | None = None
    also: tuple[str, ...] = ()

    @property
    def destinations(self) -> tuple[str, ...]:
        """All of them, the one that builds push to first."""
        return (self.destination, *self.also)

    @cached_property
    def digest(self) -> Digest:
        """The digest of what decides the images; docs/decisions/0005 says what does not take part.

        Where a secret comes from differs between a laptop and CI, so only the ids count.
        """
        deciding = {
            "schema": PLAN_SCHEMA,
            "destination": self.destination,
            "build": {**_build_fields(self.build), "secrets": sorted(self.build.secrets)},
            "revision": self.revision,
            **({"changes": str(self.changes)} if self.changes else {}),
            "platforms": sorted([str(each.platform), each.required] for each in self.platforms),
        }
        canonical = json.dumps(deciding, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return Digest.of(canonical.encode())

    def to_json(self) -> bytes:
        """The plan file: fixed key order, a final newline. ``digest`` is for readers; it is computed anew."""
        document = {
            "schema": PLAN_SCHEMA,
            "digest": str(self.digest),
            "destination": self.destination,
            "also": list(self.also),
            "tags": list(self.tags),
            "revision": self.revision,
            "changes": str(self.changes) if self.changes else None,
            "build": _build_fields(self.build),
            "platforms": [
                {
                    "platform": str(each.platform),
                    "engine": each.engine,
                    "runner": each.runner,
                    "required": each.required,
                    "fallback": each.fallback,
                    "why": each.why,
                }
                for each in self.platforms
            ],
        }
        return strict_json.dumps(document) + b"\n"

    @classmethod
    def from_json(cls, raw: bytes, *, subject: str) -> Plan:
        """Read a plan file.

        Args:
            raw: The file's content.
            subject: Its name, for messages.

        Raises:
            PlanError: not a plan, or not the one whose digest it bears; every problem is listed.
        """
        try:
            document = strict_json.loads_object(raw, subject=subject, max_bytes=PLAN_MAX_BYTES)
        except ContentError as error:
            raise PlanError(error.what, hint="make it again: anyarch plan") from error
        fields = Fields(document, problems=[])
        if not fields.schema(PLAN_SCHEMA):
            raise PlanError(f"{subject} is not a plan", offenders=fields.problems)
        written = fields.parsed("digest", Digest.parse)
        plan = cls(
            destination=fields.parsed("destination", parse_destination),
            also=read_also(fields),
            tags=tuple(fields.texts("tags", most=TAGS_MAX)),
            revision=fields.parsed_or_none("revision", parse_revision),
            changes=fields.parsed_or_none("changes", Digest.parse),
            build=read_build(fields.table("build")),
            platforms=_read_platforms(fields),
        )
        fields.end()
        for tag in plan.tags:
            _check_tag(tag, fields)
        if not fields.problems and plan.digest != written:
            fields.problem("digest", f"expected {plan.digest}, got {written}: the file was changed by hand")
        if fields.problems:
            raise PlanError(f"{subject} is not a plan", offenders=fields.problems)
        return plan


def make_plan(
    config: Config,
    *,
    platforms: Sequence[Platform] = (),
    engines: Mapping[Platform, str] | None = None,
    destination: str | None = None,
    also: Sequence[str] = (),
    tags: Sequence[str] = (),
    revision: str | None = None,
    context: Context | None = None,
) -> Plan:
    """Decide what is to be built: flags over the file, the file over defaults.

    Args:
        config: The file.
        platforms: ``--platform``. Where the file names platforms they are the set, and the flag only
            chooses among them (``select``); else the flag is the set.
        engines: ``--engine``: the URL that serves a platform.
        destination: ``--to``, in place of all that the file says of destinations.
        also: Further ones.
        tags: ``--tag``: they count in place of what the file's rules give.
        revision: The commit that is built, if known.
        context: What happened to which commit: what tag rules and labels are made of.

    Raises:
        ConfigError: a rule gives what is no tag.
        UsageError: a flag names a platform that is not planned, or a word cannot be understood.
    """
    if config.platforms:
        chosen, why = config.platforms, "anyarch.toml"
    else:
        wanted, why = (platforms, "--platform") if platforms else (DEFAULT_PLATFORMS, "default")
        chosen = tuple(PlatformSettings(platform=platform) for platform in dict.fromkeys(wanted))
    known = [each.platform for each in chosen]
    for flag, named in (("--platform", platforms), ("--engine", engines or {})):
        for platform in named:
            _check_planned(platform, known, flag=flag)
    from anyarch.release.labels import described  # noqa: PLC0415  merge writes no labels

    revision = None if revision is None else parse_revision(revision)
    computed = tags_of(config, context)
    return Plan(
        destination=parse_destination(destination or config.image or DEFAULT_DESTINATION),
        also=tuple(map(parse_destination, also)) if destination else config.also,
        tags=tuple(dict.fromkeys(str(release_tag(tag)) for tag in (tags or computed.names))),
        build=described(config, context, version=computed.version, revision=revision),
        revision=revision,
        platforms=tuple(
            PlannedPlatform(
                platform=each.platform,
                engine=(engines or {}).get(each.platform, each.engine),
                runner=each.runner,
                required=each.required,
                fallback=each.fallback,
                why=why,
            )
            for each in chosen
        ),
    )


def tags_of(config: Config, context: Context | None) -> Tags:
    """What the file's rules make of what happened: nothing where there are no rules.

    Raises:
        ConfigError: a rule gives what is no tag.
    """
    from anyarch.release.tags.compute import Tags, compute_tags  # noqa: PLC0415  merge has its tags

    return compute_tags(config.tags, context) if config.tags and context else Tags()


def select(plan: Plan, platforms: Sequence[Platform]) -> tuple[PlannedPlatform, ...]:
    """Which platforms to build now, in the plan's order; none named means all.

    Raises:
        UsageError: one that is not planned.
    """
    known = [each.platform for each in plan.platforms]
    for platform in platforms:
        _check_planned(platform, known, flag="--platform")
    return tuple(each for each in plan.platforms if not platforms or each.platform in platforms)


def parse_revision(text: str) -> str:
    """Read a revision: a commit id, or whatever names the source.

    Raises:
        UsageError: empty, too long, or with white space or control characters.
    """
    if not 0 < len(text) <= REVISION_MAX_CHARACTERS or not text.isprintable() or " " in text:
        raise UsageError(
            f"{text[:160]!r} is not a revision", hint="expected a commit id, up to 128 characters"
        )
    return text


def _read_platforms(fields: Fields) -> tuple[PlannedPlatform, ...]:
    planned = []
    for table in fields.tables("platforms", most=PLATFORMS_MAX):
        planned.append(
            PlannedPlatform(
                platform=table.parsed("platform", Platform.parse),
                engine=table.parsed_or_none("engine", parse_engine_word),
                runner=table.text("runner", default="") or None,
                required=table.flag("required"),
                fallback=cast("Fallback", table.choice("fallback", ("emulate", "fail", "skip"))),
                why=table.text("why"),
            )
        )
        table.end()
    platforms = [each.platform for each in planned]
    if not planned and not fields.problems:
        fields.problem("platforms", "empty: a plan builds something")
    if len(set(platforms)) != len(platforms):
        fields.problem("platforms", "the same platform is there twice")
    return tuple(planned)


def _check_tag(tag: str, fields: Fields) -> None:
    try:
        release_tag(tag)
    except UsageError as error:
        fields.problem("tags", error.what)


def _check_planned(platform: Platform, known: Sequence[Platform], *, flag: str) -> None:
    if platform not in known:
        raise UsageError(
            f"{flag} {platform}: this platform is not planned",
            hint=f"planned are {', '.join(map(str, known))}; anyarch.toml's [platforms] decide",
            platform=str(platform),
        )


def _build_fields(build: BuildSettings) -> dict[str, object]:
    return {
        "context": build.context,
        "dockerfile": build.dockerfile,
        **({"target": build.target} if build.target else {}),
        "args": dict(build.args),
        "secrets": dict(build.secrets),
        "labels": dict(build.labels),
        **({"annotations": dict(build.annotations)} if build.annotations else {}),
    }
