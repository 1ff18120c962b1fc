"""``anyarch.toml``: what to build, for which platforms, under which tags. All of it is optional."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, cast, get_args

from anyarch.errors import ConfigError, UsageError
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Repository
from anyarch.release import marks
from anyarch.release.fields import Fields
from anyarch.release.registries import read_registries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyarch.release.registries import RegistrySettings
    from anyarch.release.tags.rules import TagRules

Fallback = Literal["emulate", "fail", "skip"]

CONFIG_MAX_CHARACTERS: Final = 256 * 1024
DEFAULT_TIMEOUT_SECONDS: Final = 2 * 60 * 60
TIMEOUT_MAX_SECONDS: Final = 24 * 60 * 60
LAYOUT_PREFIX: Final = "oci:"
ALSO_MAX: Final = 31
CONFIG_NAME: Final = "anyarch.toml"

_FALLBACKS: Final = get_args(Fallback)
_DURATION: Final = re.compile(r"(?:(\d{1,5})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?", re.ASCII)
_ARGUMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SECRET_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
# https://docs.dagger.io/features/secrets: where Dagger reads secrets from
_SECRET: Final = re.compile(r"(?:env|file|cmd|op|vault|libsecret|gcp|aws\+sm|aws\+ps):[^,\"'`]+", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """What the Dockerfile build is given. ``secrets`` maps the Dockerfile's id to where the secret is."""

    context: str = "."
    dockerfile: str = "Dockerfile"
    target: str = ""
    args: Mapping[str, str] = field(default_factory=dict, hash=False)
    secrets: Mapping[str, str] = field(default_factory=dict, hash=False)
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("args", "secrets", "labels", "annotations"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))


@dataclass(frozen=True, kw_only=True)
class PlatformSettings:
    """How one platform is built. ``engine`` is a runner-host URL, ``runner`` a CI runner's label."""

    platform: Platform
    engine: str | None = None
    runner: str | None = None
    required: bool = True
    fallback: Fallback = "emulate"


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole ``anyarch.toml``. ``image`` is a repository or ``oci:DIR``, ``also`` are further ones.

    ``oci_labels``: what the commit tells of an image is written on it. ``tags`` None: there are no rules.
    """

    image: str | None = None
    also: tuple[str, ...] = ()
    build: BuildSettings = field(default_factory=BuildSettings)
    platforms: tuple[PlatformSettings, ...] = ()
    oci_labels: bool = True
    tags: TagRules | None = None
    registries: Mapping[str, RegistrySettings] = field(default_factory=dict, hash=False)
    timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS

    @property
    def destinations(self) -> tuple[str, ...]:
        """Where the images go, the first one first; none: nothing is said."""
        return (self.image, *self.also) if self.image else ()

    @property
    def insecure_registries(self) -> tuple[str, ...]:
        """Registries that speak plain HTTP."""
        return tuple(host for host, settings in self.registries.items() if settings.insecure)


def parse_config(text: str, *, path: str) -> Config:
    """Read ``anyarch.toml``.

    Args:
        text: The file's content.
        path: Its name, for messages.

    Raises:
        ConfigError: no valid TOML, or keys and values that mean nothing; all of them are listed.
    """
    if len(text) > CONFIG_MAX_CHARACTERS:
        what = f"{path}: longer than {CONFIG_MAX_CHARACTERS} characters"
        raise ConfigError(what, hint="is it the right file?")
    import tomllib  # noqa: PLC0415  most commands read no file of ours

    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}", hint=_toml_hint(str(error))) from error
    fields = Fields(document, problems=[])
    build = fields.table("build")
    config = Config(
        image=fields.parsed_or_none("image", parse_destination),
        also=read_also(fields),
        timeout_seconds=_timeout(build),
        oci_labels=build.flag("oci-labels", default=True),
        build=read_build(build),
        platforms=_platforms(fields.table("platforms")),
        tags=_tags(fields),
        registries=read_registries(fields.table("registries")),
    )
    if config.also and config.image is None:
        fields.problem("also", "further destinations need a first one: set image as well")
    fields.end()
    _check_labels(config.build, fields)
    raise_problems(fields.problems, path=path)
    return config


def parse_destination(text: str) -> str:
    """Read where images go: ``host/path`` or ``oci:DIR``.

    Raises:
        UsageError: neither of them.
    """
    if text.startswith(LAYOUT_PREFIX):
        if not text.removeprefix(LAYOUT_PREFIX).strip():
            raise UsageError(f"{text!r} names no directory", hint="expected oci:DIR, for example oci:dist")
        return text
    return str(Repository.parse(text))


def read_also(fields: Fields) -> tuple[str, ...]:
    """Read the further destinations, from the configuration or a plan."""
    found = []
    for text in fields.texts("also", most=ALSO_MAX):
        try:
            found.append(parse_destination(text))
        except UsageError as error:
            fields.problem("also", f"{error.what}{f' ({error.hint})' if error.hint else ''}")
    return tuple(found)


def parse_duration(text: str) -> int:
    """Read ``2h``, ``90m``, ``1h30m`` or ``45s`` into seconds.

    Raises:
        UsageError: not that form, zero, or more than a day.
    """
    match = _DURATION.fullmatch(text)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = hours * 3600 + minutes * 60 + seconds
    if not 0 < total <= TIMEOUT_MAX_SECONDS:
        raise UsageError(f"{text[:80]!r} is not a time between 1s and 24h", hint="for example 90m or 1h30m")
    return total


def raise_problems(problems: list[str], *, path: str) -> None:
    """Refuse a configuration that has problems.

    Raises:
        ConfigError: there are some; a single one is the message itself.
    """
    if len(problems) == 1:
        raise ConfigError(f"{path}: {problems[0]}", path=path)
    if problems:
        raise ConfigError(f"{path} has {len(problems)} problems", offenders=problems, path=path)


def read_build(fields: Fields) -> BuildSettings:
    """Read build settings, from the configuration or a plan."""
    settings = BuildSettings(
        context=fields.parsed_or_none("context", _context) or ".",
        dockerfile=fields.parsed_or_none("dockerfile", _dockerfile) or "Dockerfile",
        target=fields.text("target", default=""),
        args=_words(fields.table("args"), _ARGUMENT, "an ARG's name: letters, digits and '_'"),
        secrets=_secrets(fields.table("secrets")),
        labels=_words(fields.table("labels"), None, ""),
        annotations=_words(fields.table("annotations"), None, ""),
    )
    fields.end()
    return settings


def _timeout(fields: Fields) -> int:
    return fields.parsed_or_none("timeout", parse_duration) or DEFAULT_TIMEOUT_SECONDS


def _context(text: str) -> str:
    if text.startswith("/") or "\\" in text:
        raise UsageError(f"{text[:160]!r} is not a relative path", hint="relative to anyarch.toml, such as .")
    return text


def _dockerfile(text: str) -> str:
    if text.startswith("/") or ".." in text.split("/") or "\\" in text:
        raise UsageError(f"{text[:160]!r} is outside the build context", hint="a path in the context")
    return text


def _words(fields: Fields, grammar: re.Pattern[str] | None, expected: str) -> dict[str, str]:
    """A table of names and strings that the author chooses; an empty value is a value."""
    words = {}
    for key in fields.keys():  # noqa: SIM118  a method of ours that also marks the keys as known
        if not key or "=" in key or not key.isprintable() or (grammar and not grammar.fullmatch(key)):
            fields.problem(key, f"not a name; expected {expected or 'letters, digits, dots and dashes'}")
        words[key] = fields.text_or_empty(key)
    return words


def _secrets(fields: Fields) -> dict[str, str]:
    """Secrets by reference. A value that is no reference may be the secret itself: it is not repeated."""
    secrets = {}
    for key in fields.keys():  # noqa: SIM118  as above
        if not _SECRET_ID.fullmatch(key):
            fields.problem(key, "not a secret id; expected letters, digits, '_', '.' and '-'")
        value = fields.text(key)
        if value and not _SECRET.fullmatch(value):
            fields.problem(
                key,
                "expected where the secret is: env:NAME, file:PATH or cmd:COMMAND, no commas or quotes",
            )
        secrets[key] = value
    return secrets


def _platforms(fields: Fields) -> tuple[PlatformSettings, ...]:
    settings: dict[Platform, PlatformSettings] = {}
    for key in fields.keys():  # noqa: SIM118  as above
        table = fields.table(key)
        try:
            platform = Platform.parse(key)
        except UsageError as error:
            fields.problem(key, f"{error.what}{f' ({error.hint})' if error.hint else ''}")
            continue
        if platform in settings:
            fields.problem(key, f"{platform} is there twice: this is the same platform under another name")
        settings[platform] = PlatformSettings(
            platform=platform,
            engine=table.parsed_or_none("engine", parse_engine_word),
            runner=table.text("runner", default="") or None,
            required=table.flag("required", default=True),
            fallback=cast("Fallback", table.choice("fallback", _FALLBACKS, default="emulate")),
        )
        table.end()
    return tuple(settings.values())


def parse_engine_word(text: str) -> str:
    """An engine's URL as far as this room can judge: the engine room knows the schemes.

    Raises:
        UsageError: no scheme, or white space.
    """
    scheme, mark, rest = text.partition("://")
    if not (scheme and mark and rest) or any(character.isspace() for character in text):
        raise UsageError(f"{text[:160]!r} is not an engine's URL", hint="for example tcp://host:1234")
    return text


def _tags(fields: Fields) -> TagRules | None:
    if not fields.has("tags"):
        return None
    from anyarch.release.tags.settings import read_tag_rules  # noqa: PLC0415  merge reads no rules

    return read_tag_rules(fields.table("tags"))


def _check_labels(build: BuildSettings, fields: Fields) -> None:
    """Find faulty expressions, and annotations that only anyarch may write."""
    from anyarch.release.tags.template import check_templates  # noqa: PLC0415  as above

    for table, values in (("labels", build.labels), ("annotations", build.annotations)):
        for name, problem in check_templates(values).items():
            fields.problems.append(f'build.{table}."{name}": {problem}')
    for name in build.annotations:
        if name == marks.REVISION or name.startswith(marks.PREFIX):
            fields.problems.append(f'build.annotations."{name}": anyarch itself writes this one')


def _toml_hint(error: str) -> str:
    if "\\" in error:
        return "TOML reads backslashes in \"…\": write patterns in '…' and blocks of rules in '''…'''"
    return "see https://toml.io for the grammar"
