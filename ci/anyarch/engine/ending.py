"""What becomes of an image that an engine has built: it is pushed, or written to a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from shlex import join, quote
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD_VARIABLE: Final = "ANYARCH_REGISTRY_PASSWORD"  # noqa: S105  a name, not a password


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """End a build by pushing its image, by digest, and write the record to ``record``.

    ``renewal`` is a command that prints another password: it is run once the registry no longer takes the
    first, and what it says when it fails goes to ``renewal_words``.
    """

    repository: str
    record: Path
    username: str = ""
    password: str = field(default="", repr=False)
    renewal: tuple[str, ...] = ()
    insecure: bool = False

    def words(self) -> list[str]:
        """The function and its flags. The password is named, not told: arguments are public."""
        words = ["publish", f"--repository={self.repository}"]
        if self.username:
            words += [f"--username={self.username}", f"--password=env:{PASSWORD_VARIABLE}"]
            words += [self._renewed()] if self.renewal else []
        if self.insecure:
            words.append("--insecure")
        return [*words, "export", f"--path={self.record}"]

    @property
    def renewal_words(self) -> Path:
        """Where the command that renews the password leaves its words."""
        return self.record.with_name("renewal")

    def _renewed(self) -> str:
        """Where the client looks for another, on this machine, at the moment the engine asks for it.

        The key of the cache keeps it from looking before that.
        """
        return (
            f"--another-password=cmd:{join(self.renewal)} 2>{quote(str(self.renewal_words))}?cacheKey=another"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """End a build by writing its image as an OCI layout to the directory ``path``."""

    path: Path
    password: str = field(default="", repr=False, init=False)

    def words(self) -> list[str]:
        """The function and its flags."""
        return ["layout", "export", f"--path={self.path}"]
