"""What holds for all tags: whether there is a ``latest``, and what stands before and behind every tag."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast

from anyarch.errors import UsageError
from anyarch.release.fields import nearest
from anyarch.release.tags.lines import Line, attributes
from anyarch.release.tags.template import GLOBALS, NOTHING, Template

if TYPE_CHECKING:
    from collections.abc import Sequence

Latest = Literal["auto", "true", "false"]

_KEYS: Final = ("latest", "prefix", "suffix", "onlatest")
_FLAGS: Final = ("true", "false")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """``latest`` auto: when the first tag is a release. ``…_on_latest``: it gets this affix, too."""

    latest: Latest = "auto"
    prefix: Template = NOTHING
    suffix: Template = NOTHING
    prefix_on_latest: bool = False
    suffix_on_latest: bool = False


def parse_flavor(lines: Sequence[Line], problems: list[str]) -> Flavor:
    """Read the lines of a flavor; what is wrong with them goes to ``problems``."""
    settings: dict[str, str] = {}
    for line in lines:
        try:
            _read(line, settings)
        except UsageError as error:
            problems.append(line.problem(error))
    return Flavor(
        latest=cast("Latest", settings.get("latest", "auto")),
        prefix=Template.parse(settings.get("prefix", ""), names=GLOBALS),
        suffix=Template.parse(settings.get("suffix", ""), names=GLOBALS),
        prefix_on_latest=settings.get("prefix onlatest") == "true",
        suffix_on_latest=settings.get("suffix onlatest") == "true",
    )


def _read(line: Line, settings: dict[str, str]) -> None:
    affix = ""
    for key, value in attributes(line.text):
        if key not in _KEYS:
            near = nearest(key, _KEYS)
            known = f"did you mean {near}?" if near else f"known here: {', '.join(_KEYS)}"
            raise UsageError(f"unknown flavor {key or value!r}; {known}")
        if key == "onlatest":
            if not affix:
                raise UsageError("onlatest belongs behind a prefix or a suffix: prefix=…,onlatest=true")
            _one_of(key, value, _FLAGS)
            settings[f"{affix} onlatest"] = value
            continue
        if key == "latest":
            _one_of(key, value, ("auto", *_FLAGS))
        else:
            affix = key
            Template.parse(value, names=GLOBALS)
        settings[key] = value


def _one_of(key: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UsageError(f"{key}={value}: expected {' or '.join(choices)}")
