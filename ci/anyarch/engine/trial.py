"""Calling the pipeline's ``trial``: one command in one platform's published image."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyarch.engine.call import Call
from anyarch.engine.ending import PASSWORD_VARIABLE
from anyarch.errors import BuildTimeoutError, CannotRunError, EngineError
from anyarch.shown import in_lines

if TYPE_CHECKING:
    from anyarch.engine.failure import Transcript

OUTPUT_MAX_CHARACTERS: Final = 4 * 1024**2  # printed by the client; a trial keeps the last 64 Ki


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialCall(Call):
    """One platform's trial.

    Args:
        image: The image's reference in a registry, or a layout directory that holds just this image.
        command: Its words, quoted as for a shell; empty: the image's own.
        entrypoint: In place of the image's own, empty for none; None keeps it.
        result: Where the engine's answer goes (``release.trial.Trial``).
        repository: The registry's repository that ``image`` is in; empty for a layout.
        username: For the registry; empty: none.
        password: For the registry.
    """

    image: str | Path
    command: str
    entrypoint: str | None
    result: Path
    repository: str = ""
    username: str = ""
    password: str = field(default="", repr=False)

    @property
    def work(self) -> str:
        """What is done, for messages."""
        return "running the image"

    @property
    def kind(self) -> type[EngineError]:
        """The class of a failure whose cause is not known."""
        return CannotRunError

    @property
    def output_max_characters(self) -> float:
        """The Dagger client keeps all of it, forty times over: 25 MB that it printed took it 1 GB."""
        return OUTPUT_MAX_CHARACTERS

    def flooded(self) -> CannotRunError:
        """The error that says that the command printed too much to be let go on."""
        most = OUTPUT_MAX_CHARACTERS // 1024**2
        return CannotRunError(
            f"{self.platform}: the command was ended: it said more than {most} MiB",
            hint=f"give it less to say, or a file to say it to; see {self.log}",
            platform=str(self.platform),
            log=str(self.log),
        )

    def words(self) -> list[str]:
        """The function and its flags. The password is named, not told: arguments are public."""
        image = f"--layout={self.image}" if isinstance(self.image, Path) else f"--ref={self.image}"
        words = ["trial", f"--platform={self.platform}", image, f"--command={self.command}"]
        if self.entrypoint is not None:
            words.append(f"--entrypoint={self.entrypoint}")
        if self.username:
            words += [f"--username={self.username}", f"--password=env:{PASSWORD_VARIABLE}"]
        return [*words, "export", f"--path={self.result}"]

    def late(self, transcript: Transcript) -> BuildTimeoutError:
        """The error that says that the deadline has passed, and where it stood."""
        said = transcript.said_by_command()
        if said is None:
            stood = "it had not begun by then"
        else:
            stood = "it had said:" if said else "it had said nothing"
        lines = "".join(f"\n    {line}" for line in said or ())
        return BuildTimeoutError(
            in_lines(
                f"{self.platform}: the command did not end within {self.deadline_seconds:g} s; {stood}{lines}"
            ),
            hint=f"see {self.log}; --run-timeout allows more",
            platform=str(self.platform),
            log=str(self.log),
        )
