"""Calling a function of the pipeline on an engine: one child process, one log file, one deadline."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

import anyio

from anyarch.engine.ending import PASSWORD_VARIABLE, Publish
from anyarch.engine.failure import Subject, Transcript, explain
from anyarch.engine.native.room import Room
from anyarch.engine.output import parse_line, plain
from anyarch.engine.process import child, lines
from anyarch.engine.select import RUNNER_HOST
from anyarch.engine.telemetry import cleaned
from anyarch.engine.veil import Veil
from anyarch.errors import BuildFailedError, BuildTimeoutError, EngineError, FileProblemError
from anyarch.release.matrix import list_flag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from anyarch.engine.ending import Layout
    from anyarch.engine.output import Line
    from anyarch.engine.urls import EngineUrl
    from anyarch.oci.platforms import Platform

_WORDS_MAX_CHARACTERS: Final = 2000
_QUIET: Final = {"DAGGER_NO_NAG": "1", "DO_NOT_TRACK": "1", "NO_COLOR": "1"}
# A client inside a session would join that session's engine instead of the one it is given.
_NOT_INHERITED: Final = frozenset({"DAGGER_SESSION_PORT", "DAGGER_SESSION_TOKEN", RUNNER_HOST})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a function of the pipeline on one engine.

    Args:
        dagger: The Dagger client.
        module: Where the pipeline's ``dagger.json`` is.
        engine: The engine; None lets the client provision its own in Docker or Podman.
        platform: For messages.
        log: Where all that the client prints is kept.
        deadline_seconds: How long it may take.
        docker_config: The folder of Docker's configuration for the client; None: the user's own.
    """

    dagger: str
    module: str
    engine: EngineUrl | None
    platform: Platform
    log: Path
    deadline_seconds: float
    docker_config: Path | None = None

    @property
    def work(self) -> str:
        """What is done, for messages."""
        raise NotImplementedError

    @property
    def kind(self) -> type[EngineError]:
        """The class of a failure whose cause is not known."""
        return BuildFailedError

    @property
    def repository(self) -> str:
        """The registry's repository that takes part, for messages; empty if none does."""
        return ""

    @property
    def password(self) -> str:
        """The registry's password; empty if none is needed."""
        return ""

    @property
    def username(self) -> str:
        """The registry's user; empty if none is needed."""
        return ""

    @property
    def renewal_words(self) -> Path | None:
        """Where the command that renews the password leaves its words; None where there is none."""
        return None

    def words(self) -> list[str]:
        """The function and its flags."""
        raise NotImplementedError

    def late(self, transcript: Transcript) -> BuildTimeoutError:
        """The error that says that the deadline has passed, and where it stood."""
        raise NotImplementedError

    @property
    def output_max_characters(self) -> float:
        """How much the client may print until it is ended; a build may say what it likes."""
        return math.inf

    def flooded(self) -> EngineError:
        """The error that says that it printed more."""
        raise NotImplementedError

    def argv(self) -> list[str]:
        """The command line of the child process; it holds no secret."""
        return [self.dagger, "--progress=plain", "call", "-m", self.module, *self.words()]

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The environment of the child process."""
        environ = {key: value for key, value in inherited.items() if key not in _NOT_INHERITED} | _QUIET
        if self.engine is not None:
            environ[RUNNER_HOST] = str(self.engine)
        if self.docker_config is not None:
            environ["DOCKER_CONFIG"] = str(self.docker_config)
        if self.password:
            environ[PASSWORD_VARIABLE] = self.password
        return environ


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildCall(Call):
    """One platform's build.

    Args:
        source: The build context.
        arguments: Flags of ``build`` (``release.plan.build_arguments``).
        exclude: Patterns of files in the context that are not part of it.
        ending: What becomes of the image.
    """

    source: Path
    arguments: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    ending: Publish | Layout

    @property
    def work(self) -> str:
        """What is done, for messages."""
        return "the build"

    @property
    def repository(self) -> str:
        """Where the image is published; empty for a layout."""
        return self.ending.repository if isinstance(self.ending, Publish) else ""

    @property
    def username(self) -> str:
        """The registry's user; empty for a layout."""
        return self.ending.username if isinstance(self.ending, Publish) else ""

    @property
    def password(self) -> str:
        """The registry's password; empty if none is needed."""
        return self.ending.password

    @property
    def renewal_words(self) -> Path | None:
        """Where the command that renews the password leaves its words; None for a layout."""
        return self.ending.renewal_words if isinstance(self.ending, Publish) else None

    def words(self) -> list[str]:
        """The function and its flags."""
        return [
            *("build", f"--source={self.source}", *self.arguments),
            *(list_flag("--exclude", pattern) for pattern in self.exclude),
            *self.ending.words(),
        ]

    def late(self, transcript: Transcript) -> BuildTimeoutError:
        """The error that says that the deadline has passed, and where it stood."""
        return BuildTimeoutError(
            f"{self.platform}: not built within {self.deadline_seconds:g} s; {transcript.last_words()}",
            hint=f"see {self.log}; --timeout or `timeout` under [build] in anyarch.toml allows more",
            platform=str(self.platform),
            log=str(self.log),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """A call that succeeded: how long it took, how many steps it had and how many were cached."""

    seconds: float
    steps: int
    cached: int


async def carry_out(request: Call, *, on_line: Callable[[Line], None]) -> Outcome:
    """Run one call to its end.

    Cancelling ends the child and everything it started.

    Args:
        request: What to do, where.
        on_line: Told each line the client prints.

    Raises:
        EngineError: the engine or the work on it failed, or the deadline passed; the class says which.
        RegistryError: the image could not be published or pulled.
        FileProblemError: the log cannot be written.
        MissingToolError: the Dagger client cannot be run.
    """
    started, transcript, room = monotonic(), Transcript(), Room.of(request.engine)
    try:
        with anyio.fail_after(request.deadline_seconds):
            status = await _follow(request, transcript, on_line)
    except TimeoutError as error:
        raise request.late(transcript) from error
    if status != 0:
        raise explain(transcript, status=status, subject=_subject(request, room))
    return Outcome(monotonic() - started, *transcript.counts())


async def _follow(request: Call, transcript: Transcript, on_line: Callable[[Line], None]) -> int:
    environ = request.environment(os.environ)
    said = 0
    veil = Veil.of(request.words(), username=request.username, password=request.password, environ=environ)
    try:
        log = await anyio.open_file(request.log, "w", encoding="utf-8", buffering=1)
    except OSError as error:
        raise FileProblemError(
            f"cannot write {request.log}: {error.strerror}", path=str(request.log)
        ) from error
    with cleaned(environ, veil) as told:
        async with log, child(request.argv(), environ=told) as process:
            assert process.stdout is not None  # noqa: S101  child() asked for a pipe
            async for raw in lines(process.stdout):
                text = veil(plain(raw))
                log.wrapped.write(text + "\n")
                line = parse_line(text)
                transcript.add(line)
                on_line(line)
                said += len(raw)
                if said > request.output_max_characters:
                    process.kill()  # at once: whoever is not read goes on gathering
                    raise request.flooded()
            status = await process.wait()
            transcript.renewal = veil(plain(_read(request.renewal_words)))
            log.wrapped.write(transcript.renewal)
            return status


def _read(words: Path | None) -> str:
    try:
        return words.read_text(encoding="utf-8", errors="replace")[:_WORDS_MAX_CHARACTERS] if words else ""
    except OSError:
        return ""  # it was not asked


def _subject(request: Call, room: Room | None) -> Subject:
    return Subject(
        work=request.work,
        kind=request.kind,
        platform=str(request.platform),
        engine=str(request.engine or "in Docker or Podman"),
        repository=request.repository,
        lack=room.lack() if room else "",
        log=str(request.log),
    )
