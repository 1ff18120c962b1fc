"""``[registries."HOST"]`` in ``anyarch.toml``: how it is reached, and how repositories are made there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, cast, get_args

from anyarch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyarch.release.fields import Fields

Mutability = Literal["mutable", "immutable"]
Encryption = Literal["AES256", "KMS", "KMS_DSSE"]

# One of the service's five is kept for the tags that remember what a tag pointed at.
EXCEPTIONS_MAX: Final = 4
_REGISTRY: Final = re.compile(r"[A-Za-z0-9.\[\]:-]+", re.ASCII)
_PROFILE: Final = re.compile(r"[^\s\[\]]{1,128}")
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageTagMutabilityExclusionFilter.html
_PATTERN: Final = re.compile(r"[0-9a-zA-Z._*-]{1,128}", re.ASCII)
_STARS_MAX: Final = 2
_MUTABILITIES: Final = get_args(Mutability)
_ENCRYPTIONS: Final = get_args(Encryption)


@dataclass(frozen=True, kw_only=True)
class CreateSettings:
    """How a repository is made that is missing: on Amazon ECR, the only registry that does not do it itself.

    ``exceptions`` are patterns of tags to which the opposite of ``mutability`` applies. ``lifecycle_policy``
    is the name of a file beside anyarch.toml.
    """

    mutability: Mutability = "mutable"
    exceptions: tuple[str, ...] = ()
    scan_on_push: bool = False
    encryption: Encryption = "AES256"
    kms_key: str = ""
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    lifecycle_policy: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", MappingProxyType(dict(self.tags)))


@dataclass(frozen=True, kw_only=True)
class RegistrySettings:
    """One registry. ``create`` None: repositories are not made."""

    insecure: bool = False
    aws_profile: str = ""
    create: CreateSettings | None = None


def read_registries(fields: Fields) -> Mapping[str, RegistrySettings]:
    """Read the ``registries`` table."""
    read = {}
    for key in fields.keys():  # noqa: SIM118  a method of ours that also marks the keys as known
        if not _REGISTRY.fullmatch(key):
            fields.problem(key, "not a registry; expected host or host:port")
        table = fields.table(key)
        read[key] = RegistrySettings(
            insecure=table.flag("insecure", default=False),
            aws_profile=table.parsed_or_none("aws-profile", _profile) or "",
            create=_create(table.table("create")) if table.has("create") else None,
        )
        table.end()
    return MappingProxyType(read)


def _create(fields: Fields) -> CreateSettings:
    settings = CreateSettings(
        mutability=cast("Mutability", fields.choice("mutability", _MUTABILITIES, default="mutable")),
        exceptions=_exceptions(fields),
        scan_on_push=fields.flag("scan-on-push", default=False),
        encryption=cast("Encryption", fields.choice("encryption", _ENCRYPTIONS, default="AES256")),
        kms_key=fields.text("kms-key", default=""),
        tags=_tags(fields.table("tags")),
        lifecycle_policy=fields.parsed_or_none("lifecycle-policy", _file_name) or "",
    )
    if settings.kms_key and settings.encryption == "AES256":
        fields.problem("kms-key", 'needs encryption = "KMS"')
    fields.end()
    return settings


def _exceptions(fields: Fields) -> tuple[str, ...]:
    patterns = fields.texts("exceptions", most=EXCEPTIONS_MAX)
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern) or pattern.count("*") > _STARS_MAX:
            fields.problem(
                "exceptions",
                f"{pattern[:80]!r} is not a pattern of tags: letters, digits, '.', '_', '-', '*'",
            )
    return patterns


def _tags(fields: Fields) -> dict[str, str]:
    return {key: fields.text_or_empty(key) for key in fields.keys()}  # noqa: SIM118  as above


def _profile(text: str) -> str:
    if _PROFILE.fullmatch(text) is None:
        raise UsageError(
            f"{text[:80]!r} is not the name of an AWS profile", hint="aws configure list-profiles"
        )
    return text


def _file_name(text: str) -> str:
    if text.startswith("/") or ".." in text.split("/") or "\\" in text:
        raise UsageError(f"{text[:160]!r} is outside the folder of anyarch.toml", hint="a file beside it")
    return text
