"""What a build is doing, in the words of its Dockerfile instead of the engine's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from anyarch.engine.output import Kind

if TYPE_CHECKING:
    from anyarch.engine.output import Line

HEADLINE_MAX_CHARACTERS: Final = 100
_STEPS_MAX: Final = 20_000

_RUN: Final = re.compile(r"withExec (?:/bin/sh -c )?'?(?P<command>.*?)'?", re.DOTALL)
_FROM: Final = re.compile(r'\w*\.?from\(address: "(?:docker\.io/(?:library/)?)?(?P<image>[^"@]+)[^"]*".*')
_PULL: Final = re.compile(r"(?:resolving|pulling) (?:docker\.io/(?:library/)?)?(?P<image>[^\s@]+).*")
# How the pipeline's `trial` runs a command; no instruction of a Dockerfile is run like that.
_TRIAL: Final = re.compile(r"withExec .*\(expect: ANY, noInit: true\)", re.DOTALL)
_PHASES: Final = (
    ("connecting to engine", "connecting"),
    ("loading type definitions", "loading the pipeline"),
    ("Directory.dockerBuild(", "reading the Dockerfile"),
    ("export layers", "exporting layers"),
    ("Container.asTarball", "exporting layers"),
    ("Container.publish(", "pushing"),
)


def instruction_of(name: str) -> str:
    """A step's name as a Dockerfile writes it; empty if it is no instruction."""
    if match := _RUN.fullmatch(name):
        return f"RUN {match['command']}"
    if match := _FROM.fullmatch(name) or _PULL.fullmatch(name):
        return f"FROM {match['image']}"
    return ""


def is_trial(name: str) -> bool:
    """Whether a step is the command of a trial."""
    return _TRIAL.fullmatch(name) is not None


class Narration:
    """Follows one client's lines and knows what happens now.

    Steps are lazy: the client shows all of them when they are declared, and again when they run. So what
    runs is the last one that printed something or was shown, and what is worth a line is one that ended.
    """

    def __init__(self) -> None:
        self.current = "starting"
        self._names: dict[int, str] = {}
        self._told: set[tuple[int, str]] = set()

    def hear(self, line: Line) -> str:
        """Take a line in; return what is worth telling about it, or nothing."""
        if line.kind is Kind.STARTED:
            return self._started(line)
        name = self._names.get(line.step)
        if name is None:
            return ""
        if line.kind is Kind.PRINTED:
            self.current = name
        if line.kind in {Kind.DONE, Kind.CACHED, Kind.ERROR}:
            return self._ended(line, name)
        return ""

    def _started(self, line: Line) -> str:
        phase = _phase(line.text)
        name = phase or _shortened(instruction_of(line.text))
        if not name:
            return ""
        self.current = name
        if not phase and len(self._names) < _STEPS_MAX:
            self._names[line.step] = name
        return self._once(line.step, name) if phase else ""

    def _ended(self, line: Line, name: str) -> str:
        if line.kind is Kind.DONE and line.took == "0.0s":
            return ""  # declared, not run
        how = {Kind.CACHED: "cached", Kind.ERROR: f"FAILED after {line.took}"}.get(line.kind, line.took)
        return self._once(line.step, f"{name}  {how}")

    def _once(self, step: int, words: str) -> str:
        if (step, words) in self._told or len(self._told) > _STEPS_MAX:
            return ""
        self._told.add((step, words))
        return words


def _phase(name: str) -> str:
    """What a step that is no instruction does, in words; empty if it is not worth telling."""
    if is_trial(name):
        return "running the command"
    return next((words for start, words in _PHASES if name.startswith(start)), "")


def _shortened(text: str) -> str:
    one_line = " ".join(text.split())
    return (
        one_line
        if len(one_line) <= HEADLINE_MAX_CHARACTERS
        else one_line[: HEADLINE_MAX_CHARACTERS - 1] + "…"
    )
