"""Why a ``dagger call`` failed, told from what it printed.

The client prints everything it knows, the cause somewhere among hundreds of lines, and ends with one
exit status for all causes. Here the cause becomes one of our errors, with the lines that show it.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from anyarch import errors
from anyarch.engine.narration import instruction_of, is_trial
from anyarch.engine.output import Kind, Line
from anyarch.shown import in_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHOWN_LINES: Final = 15
_KEPT_LINES: Final = 400
_STEPS_MAX: Final = 20_000

# `anyarch.<Class>: <sentence>` is how the pipeline's functions fail (dagger/src/pipeline/failures.py).
_OURS: Final = re.compile(r"\banyarch\.(?P<name>[A-Z][A-Za-z]+Error): (?P<text>.*)")
_TRACE: Final = re.compile(r"\s*\[traceparent:[0-9a-f-]+\]")

# In order: the first that matches any line counts.
_DISK_FULL: Final = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
# As the pipeline words it. A native engine's log and disk say more; the client is told nothing.
_LOST: Final = re.compile(r"the engine lost the command (?P<command>.*?); most often its disk is full")
_ENGINE_GONE: Final = re.compile(
    r"start engine:|new client: |failed to connect to engine|error reading from server: EOF"
    r"|engine.sock: connect: |transport: [Ee]rror while dialing|no driver for scheme",
)
_PUSH: Final = re.compile(
    r"failed to (?:push|do request|authorize|fetch (?:anonymous|oauth) token)|pushing |HEAD request"
)
_FOREIGN: Final = re.compile(r"exec format error", re.IGNORECASE)
_REGISTRY: Final = (
    (re.compile(r"\b401\b|[Uu]nauthorized|authentication required", re.ASCII), errors.AuthenticationError),
    (re.compile(r"\b403\b|\bdenied\b|[Ff]orbidden|insufficient_scope", re.ASCII), errors.DeniedError),
    (
        re.compile(
            r"connection refused|no such host|i/o timeout|network is unreachable|no route to host"
            r"|\b50[0234]\b|server gave HTTP response to HTTPS client|certificate|TLS handshake",
            re.ASCII,
        ),
        errors.RegistryUnavailableError,
    ),
)


@dataclass
class Transcript:
    """The part of a call's output that a message may need: the steps' names, the last lines, failures."""

    names: dict[int, str] = field(default_factory=dict)
    failed: list[int] = field(default_factory=list)
    last: deque[Line] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    printed: dict[int, deque[str]] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    ended: dict[int, Kind] = field(default_factory=dict)
    renewal: str = ""  # what a command said that was to print another password
    _why: dict[int, str] = field(default_factory=dict)

    def add(self, line: Line) -> None:
        """Take note of one line."""
        self.last.append(line)
        if line.kind in {Kind.DONE, Kind.CACHED} and len(self.ended) < _STEPS_MAX:
            self.ended[line.step] = line.kind
        if line.kind is Kind.STARTED and len(self.names) < _STEPS_MAX:
            self.names.setdefault(line.step, line.text)
        elif line.kind is Kind.PRINTED and len(self.printed) < _STEPS_MAX:
            self.printed.setdefault(line.step, deque(maxlen=SHOWN_LINES)).append(line.text)
        elif line.kind is Kind.ERROR:
            self.failed.append(line.step)
        elif line.kind is Kind.FAILURE and len(self.reasons) < _KEPT_LINES:
            self.reasons.append(line.text)
            self._why.setdefault(line.step, line.text)

    def evidence(self) -> Iterator[str]:
        """Every line that may name the cause, causes first."""
        yield from self.reasons
        yield from (line.text for line in self.last if line.kind is Kind.OTHER)
        for step in self.failed:
            yield from self.printed.get(step, ())

    def last_words(self) -> str:
        """Where it stood: the last instruction that began or printed something."""
        for line in reversed(self.last):
            if line.kind in {Kind.STARTED, Kind.PRINTED}:
                instruction = instruction_of(self.names.get(line.step, line.text))
                if instruction:
                    return f"its last step was {_short(instruction)}"
        return "it had not reached the Dockerfile's first instruction"

    def said_by_command(self) -> list[str] | None:
        """The last lines that a trial's command printed; None while it had not begun."""
        steps = [step for step, name in self.names.items() if is_trial(name)]
        return [line for step in steps for line in self.printed.get(step, ())] if steps else None

    def counts(self) -> tuple[int, int]:
        """How many steps ended, and how many of them were in the engine's cache."""
        return len(self.ended), sum(1 for kind in self.ended.values() if kind is Kind.CACHED)

    def failing_instruction(self) -> tuple[int, str, str] | None:
        """The Dockerfile instruction that failed: its step, itself and why; None if none did.

        A failure is printed for every step around it too, innermost first.
        """
        for step in self.failed:
            instruction = instruction_of(self.names.get(step, ""))
            if instruction:
                return step, instruction, self._why.get(step, "no reason given")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What was being done: ``work`` is a sentence's subject, ``kind`` for a failure of unknown cause.

    ``lack`` is what shows that the engine's disk is full, as far as that can be seen from here.
    """

    platform: str
    engine: str
    repository: str
    log: str
    work: str = "the build"
    kind: type[errors.EngineError] = errors.BuildFailedError
    lack: str = ""


def explain(transcript: Transcript, *, status: int, subject: Subject) -> errors.AnyarchError:
    """The error that says why the call failed.

    Args:
        transcript: What the client printed.
        status: Its exit status.
        subject: What was being done.
    """
    error = _explained(transcript, status, subject)
    why, _, hint = " ".join(transcript.renewal.removeprefix("error: ").split()).partition(" → ")
    if not why or not isinstance(error, errors.AuthenticationError | errors.DeniedError):
        return error
    what = f"{error.what}\n    another password could not be had: {why}"
    return type(error)(what, hint=hint or error.hint, **error.facts)


def _explained(transcript: Transcript, status: int, subject: Subject) -> errors.AnyarchError:
    evidence = list(transcript.evidence())
    ours = _ours(transcript, subject)
    if ours is not None:
        return ours
    facts = {"platform": subject.platform, "engine": subject.engine, "log": subject.log}
    if line := _first(_DISK_FULL, evidence):
        return _disk_full(line, subject, facts)
    if (line := _first(_ENGINE_GONE, evidence)) and not transcript.failing_instruction():
        return errors.EngineUnreachableError(
            f"{subject.platform}: the Dagger client cannot work with the engine {subject.engine}: {line}",
            hint=f"see {subject.log}; `anyarch engine status` shows the native engines",
            **facts,
        )
    if not transcript.failing_instruction() and _first(_PUSH, evidence):
        for pattern, kind in _REGISTRY:
            if line := _first(pattern, evidence):
                return kind(f"{subject.platform}: publishing to {subject.repository} failed: {line}", **facts)
    return _build_failed(transcript, status, subject, facts)


def _disk_full(why: str, subject: Subject, facts: dict[str, str]) -> errors.EngineDiskFullError:
    return errors.EngineDiskFullError(
        f"{subject.platform}: the engine {subject.engine} has no room left: {why}",
        hint="free space in the engine's state, or prune its cache: dagger core engine local-cache prune",
        **facts,
    )


def _build_failed(
    transcript: Transcript, status: int, subject: Subject, facts: dict[str, str]
) -> errors.EngineError:
    found = transcript.failing_instruction()
    if found is None:
        reasons = [*dict.fromkeys(_short(each) for each in transcript.evidence() if each.strip())]
        said = "\n".join(f"    {line}" for line in reasons[:SHOWN_LINES])
        what = f"{subject.platform}: {subject.work} failed (dagger: exit status {status})"
        return subject.kind(in_lines(f"{what}\n{said}" if said else what), hint=f"see {subject.log}", **facts)
    step, instruction, reason = found
    said = "\n".join(f"    {line}" for line in transcript.printed.get(step, ()))
    what = f"{subject.platform}: {instruction} failed: {reason}"
    what = in_lines(f"{what}\n{said}" if said else what)
    return errors.BuildFailedError(
        what,
        hint=_hint(what, subject),
        instruction=instruction,
        **facts,
    )


def _ours(transcript: Transcript, subject: Subject) -> errors.AnyarchError | None:
    """The error that a function of ours raised inside the engine, with the class it had there.

    The client prints it last, as the whole reason of its own failure.
    """
    lines = [_TRACE.sub("", line.text) for line in transcript.last]
    for number in reversed(range(len(lines))):
        found = _OURS.search(lines[number])
        kind = getattr(errors, found["name"], None) if found else None
        if found and isinstance(kind, type) and issubclass(kind, errors.AnyarchError):
            return _rebuilt(kind, found["text"], lines[number + 1 :], subject)
    return None


def _rebuilt(
    kind: type[errors.AnyarchError], first: str, following: list[str], subject: Subject
) -> errors.AnyarchError:
    """The error, from its text: a sentence, lines that show it, offenders, a hint."""
    what, offenders, hint = [first.removeprefix(f"{subject.platform}: ")], [], ""
    for line in following:
        if line.startswith("  → "):
            hint = line.removeprefix("  → ")
            break
        if not line.strip():
            break
        if line.startswith("  - "):
            offenders.append(line.removeprefix("  - "))
        else:
            what.append(line)
    said = in_lines(f"{subject.platform}: " + "\n".join(what[: SHOWN_LINES + 1]))
    hint = hint or _hint(said, subject)
    facts = {"platform": subject.platform, "engine": subject.engine, "log": subject.log}
    if subject.lack and (lost := _LOST.search(what[0])):
        why = f"it lost the command {lost['command']}, and {subject.lack}"
        return _disk_full(why, subject, facts)
    if issubclass(kind, errors.OffendersError):
        return kind(said, offenders=offenders, hint=hint, **facts)
    return kind(said, hint=hint, **facts)


def _hint(said: str, subject: Subject) -> str:
    """Where more is to be read, and what to do about a cause that its own words do not tell."""
    log = f"the whole log is {subject.log}"
    if not _FOREIGN.search(said):
        return log
    return (
        f"{subject.engine} does not run programs of {subject.platform}: give it QEMU (a native engine: "
        f"anyarch engine up --emulate {subject.platform}), or name another: "
        f"--engine {subject.platform}=URL; {log}"
    )


def _first(pattern: re.Pattern[str], evidence: Iterable[str]) -> str:
    """The first line that matches, shortened; empty if none does."""
    return next((_short(line) for line in evidence if pattern.search(line)), "")


def _short(line: str) -> str:
    return _TRACE.sub("", line).strip()[:400]
