"""A trial: one command, run once in one platform's published image, and what it said.

What is run is what ``docker run IMAGE COMMAND`` would run: the image's entrypoint stays in front, the
command takes the place of the image's own. No shell takes part, so an image needs none.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final, Literal, Self

import msgspec

from anyarch.errors import ContentError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

OUTPUT_MAX_CHARACTERS: Final = 64 * 1024
TRIAL_MAX_BYTES: Final = 2 * 1024 * 1024  # both texts, should JSON need six bytes for each character
COMMAND_MAX_CHARACTERS: Final = 32 * 1024  # Linux takes 128 KiB in one argument
_EXIT_CODE_MAX: Final = 255


class Trial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came of a command.

    Args:
        execution: Whether the engine ran it natively or under emulation.
        exit_code: As a shell has it, 0 to 255.
        seconds: From the container's start to its end; the image was there by then.
        stdout: The end of what it wrote to standard output.
        output: The end of what it wrote to standard output and standard error, as it came.
        omitted: How many characters of ``output`` came before that end.
    """

    execution: Literal["native", "emulated"]
    exit_code: int
    seconds: float
    stdout: str
    output: str
    omitted: int = 0
    schema: Literal[1] = 1

    @classmethod
    def of(
        cls,
        *,
        execution: Literal["native", "emulated"],
        exit_code: int,
        seconds: float,
        stdout: str,
        output: str,
    ) -> Self:
        """The trial, with texts cut to what is kept of them."""
        return cls(
            execution=execution,
            exit_code=exit_code,
            seconds=round(seconds, 3),
            stdout=stdout[-OUTPUT_MAX_CHARACTERS:],
            output=output[-OUTPUT_MAX_CHARACTERS:],
            omitted=max(len(output) - OUTPUT_MAX_CHARACTERS, 0),
        )

    def to_json(self) -> bytes:
        """The trial as the engine hands it over."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, raw: bytes, *, subject: str) -> Self:
        """Read what an engine handed over.

        Raises:
            ContentError: not a trial.
        """
        try:
            if len(raw) > TRIAL_MAX_BYTES:
                raise ContentError(f"{subject}: more than the {TRIAL_MAX_BYTES} bytes allowed")
            read = msgspec.json.decode(raw, type=cls)
        except msgspec.MsgspecError as error:
            raise ContentError(f"{subject}: not the result of a trial: {error}") from error
        longest = max(len(read.stdout), len(read.output))
        if not (0 <= read.exit_code <= _EXIT_CODE_MAX and read.seconds >= 0 and read.omitted >= 0):
            raise ContentError(f"{subject}: not the result of a trial: a number that cannot be")
        if longest > OUTPUT_MAX_CHARACTERS:
            raise ContentError(f"{subject}: not the result of a trial: {longest} characters of output")
        return read


def parse_command(text: str) -> tuple[str, ...]:
    """The words of a command, quoted as for a shell; nothing in it is expanded.

    Raises:
        UsageError: a quotation that does not end, or what no program can be given.
    """
    if "\0" in text or len(text) > COMMAND_MAX_CHARACTERS:
        raise UsageError("the command is too long or holds a NUL character")
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(
            f"the command {text[:160]!r} cannot be split into words: {str(error).lower()}",
            hint="quote it as for a shell, for example --run \"greeter --name 'Ada L.'\"",
        ) from error


def command_line(
    words: Sequence[str],
    *,
    entrypoint: str | None,
    own_entrypoint: Sequence[str],
    own_command: Sequence[str],
) -> list[str]:
    """The program and its arguments, put together as ``docker run`` does.

    Args:
        words: The command; empty: the image's own.
        entrypoint: In place of the image's own, empty for none; None keeps it. With one of ours the
            image's own command does not count.
        own_entrypoint: The image's.
        own_command: The image's.

    Raises:
        UsageError: nothing is left to run.
    """
    before = list(own_entrypoint) if entrypoint is None else [entrypoint] if entrypoint else []
    after = list(words) or (list(own_command) if entrypoint is None else [])
    if not (before + after):
        raise UsageError(
            "there is nothing to run: the image has no command of its own", hint="name one: --run COMMAND"
        )
    return before + after
