"""Image configs compared: what a container is started with, not how the image came to be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from anyarch.errors import ContentError
from anyarch.release.diff.entry import shown
from anyarch.release.diff.model import Change, Difference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anyarch.oci.manifest import ImageConfig

Settings = dict[tuple[str, str], str]

_PLATFORM_FIELDS: Final = {"os", "architecture", "variant", "os.version", "os.features"}
# Left by builders about themselves; nothing that runs an image reads them.
_BUILDER_FIELDS: Final = {"container", "container_config", "docker_version", "id", "parent", "throwaway"}
_BUILDER_PREFIX: Final = "moby."
_BUILDER_SETTINGS: Final = {
    "Hostname",
    "Domainname",
    "Image",
    "MacAddress",
    "NetworkDisabled",
    "ArgsEscaped",
} | {"AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce"}
# https://github.com/opencontainers/image-spec/blob/main/config.md#properties, and Docker's own
_AREAS: Final = {
    "User": "user",
    "ExposedPorts": "ports",
    "Env": "env",
    "Entrypoint": "entrypoint",
    "Cmd": "cmd",
    "Volumes": "volumes",
    "WorkingDir": "workdir",
    "Labels": "labels",
    "StopSignal": "stop-signal",
    "Healthcheck": "healthcheck",
    "OnBuild": "onbuild",
    "Shell": "shell",
}


def compare_configs(
    a: ImageConfig, b: ImageConfig, *, timestamps: bool = False, history: bool = False
) -> list[Difference]:
    """Every setting that differs, in order of name. Null, empty and missing are the same.

    Args:
        a: One image's config.
        b: The other's.
        timestamps: Compare ``created`` as well.
        history: Compare the history as well: the commands of the Dockerfile.

    Raises:
        ContentError: a config does not say its platform, or a setting is not of its type.
    """
    left, right = (dict(_settings(each, timestamps=timestamps, history=history)) for each in (a, b))
    return [
        Difference(
            area=f"config.{area}",
            name=shown(key),
            changes=(Change(what="", a=left.get((area, key)), b=right.get((area, key))),),
        )
        for area, key in sorted(left.keys() | right.keys())
        if left.get((area, key)) != right.get((area, key))
    ]


def _settings(
    config: ImageConfig, *, timestamps: bool, history: bool
) -> Iterator[tuple[tuple[str, str], str]]:
    """A config as flat settings: (area, key) and the value as text."""
    yield ("platform", ""), _platform_text(config)
    inner = config.document.get("config") or {}
    if not isinstance(inner, dict):
        raise ContentError("image config: config is not an object")
    for field, value in inner.items():
        if field not in _BUILDER_SETTINGS and value:
            area = _AREAS.get(field)
            yield from _flat(field, area if area is not None else field, value)
    for field, value in config.document.items():
        if _counts(field, timestamps=timestamps) and value:
            yield (field, ""), _text(value)
    if history:
        yield from _history(config.document)


def _platform_text(config: ImageConfig) -> str:
    platform = config.platform
    return " ".join([str(platform), platform.os_version, *platform.os_features]).rstrip()


def _counts(field: str, *, timestamps: bool) -> bool:
    if field == "created":
        return timestamps
    elsewhere = {"config", "rootfs", "history"} | _PLATFORM_FIELDS | _BUILDER_FIELDS
    return field not in elsewhere and not field.startswith(_BUILDER_PREFIX)


def _flat(field: str, area: str, value: object) -> Iterator[tuple[tuple[str, str], str]]:
    if field == "Env":
        yield from _environment(value)
    elif field in {"ExposedPorts", "Volumes"}:
        yield from (((area, key), "set") for key in _object(value, field))
    elif field == "Labels":
        yield from (((area, key), _text(each)) for key, each in _object(value, field).items())
    elif field == "Healthcheck":
        yield from (((area, key), _text(each)) for key, each in _object(value, field).items() if each)
    else:
        yield (area, ""), _text(value)


def _environment(value: object) -> Iterator[tuple[tuple[str, str], str]]:
    """The order of variables means nothing; of two with one name, runtimes keep both."""
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ContentError("image config: Env is not a list of strings")
    variables: dict[str, list[str]] = {}
    for each in value:
        name, _, content = each.partition("=")
        variables.setdefault(name, []).append(content)
    for name, contents in variables.items():
        yield ("env", name), _text(contents[0] if len(contents) == 1 else contents)


def _history(document: Mapping[str, object]) -> Iterator[tuple[tuple[str, str], str]]:
    steps = document.get("history") or []
    if not isinstance(steps, list):
        raise ContentError("image config: history is not a list")
    for number, step in enumerate(steps, start=1):
        fields = _object(step, "history")
        yield ("history", f"{number:03}"), _text({k: v for k, v in fields.items() if k != "created"})


def _object(value: object, field: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ContentError(f"image config: {field} is not an object")
    return value


def _text(value: object) -> str:
    """JSON, so that no value looks like another; control characters written out."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text)
