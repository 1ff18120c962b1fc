"""One application: its folder, its anyarch.toml, its commit, and the work folder beside them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyarch.cli.checkout import Checkout
from anyarch.cli.output import note
from anyarch.cli.regular import read_regular
from anyarch.cli.sources import Sources, sources_of
from anyarch.errors import AnyarchError, ConfigError, FileProblemError
from anyarch.release.config import (
    CONFIG_MAX_CHARACTERS,
    CONFIG_NAME,
    LAYOUT_PREFIX,
    Config,
    parse_config,
)
from anyarch.release.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anyarch.oci.platforms import Platform

_CONFIG_MAX_BYTES: Final = 4 * CONFIG_MAX_CHARACTERS  # what is cut here is too long in characters, too


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with a Dockerfile and, perhaps, an anyarch.toml."""

    folder: Path
    config: Config

    @classmethod
    def load(cls, folder: Path) -> Project:
        """Read the folder's configuration; none is fine.

        Raises:
            FileProblemError: there is no such folder, or the file cannot be read.
            ConfigError: the file says something that cannot be.
        """
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise FileProblemError(
                f"{folder} {what}; expected the folder with the Dockerfile", path=str(folder)
            )
        path = folder / CONFIG_NAME
        try:
            raw = read_regular(path, _CONFIG_MAX_BYTES)
            text = raw.decode(errors="replace" if len(raw) > _CONFIG_MAX_BYTES else "strict")
        except FileNotFoundError:
            return cls(folder, Config())
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{path} is not UTF-8: {error.reason}", hint="save it again as UTF-8", path=str(path)
            ) from error
        except OSError as error:
            raise FileProblemError(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
        return cls(folder, parse_config(text, path=str(path)))

    @property
    def work(self) -> Path:
        """Where plan, records and logs of the last run are."""
        return self.folder / ".anyarch"

    @property
    def records(self) -> Path:
        """Where a run leaves its records unless told otherwise."""
        return self.work / "records"

    @property
    def context(self) -> Path:
        """The build context."""
        return self.folder / self.config.build.context

    @property
    def source(self) -> str:
        """The build context as a path from here."""
        return os.path.relpath(self.context)

    def check_dockerfile(self) -> None:
        """Find out now, not on an engine, that there is nothing to build.

        Raises:
            FileProblemError: no build context, or no Dockerfile in it.
        """
        path = self.context / self.config.build.dockerfile
        if not path.is_file():
            raise FileProblemError(
                f"there is no Dockerfile at {path}",
                hint=f"`dockerfile` and `context` under [build] in {CONFIG_NAME} say where it is",
                path=str(path),
            )

    def checkout(self, environ: Mapping[str, str]) -> Checkout:
        """The git checkout that the folder is in."""
        return Checkout(self.folder, environ)

    def promised(self, wanted: tuple[Platform, ...], destination: str) -> tuple[Platform, ...]:
        """The platforms that the index must hold, where anyarch.toml names none.

        ``--platform`` then makes the set; but part of the last plan's set means: build these again. An
        index that silently lost the others would take the place of one that had them.
        """
        if self.config.platforms or not wanted:
            return wanted
        try:
            last = Plan.from_json((self.work / "plan.json").read_bytes(), subject="the last plan")
        except (OSError, AnyarchError):
            return wanted
        planned = tuple(each.platform for each in last.platforms)
        if last.destination == destination and set(wanted) < set(planned):
            note(f"part of the last plan ({', '.join(map(str, planned))}); for a smaller one: anyarch plan")
            return planned
        return wanted

    def sources(self, checkout: Checkout, destinations: Iterable[str], records: Path | None) -> Sources:
        """What is built from, our own files left out."""
        return sources_of(checkout, self.context, self._ours(destinations, records))

    def excluded(self, destinations: Iterable[str], records: Path) -> tuple[str, ...]:
        """What lies in the build context without being part of it: our own files."""
        ours = self._ours(destinations, records)
        inside = (os.path.relpath(path, self.context) for path in ours)
        return tuple(path for path in inside if path != "." and not path.startswith(".."))

    def _ours(self, destinations: Iterable[str], records: Path | None) -> list[Path]:
        layouts = [
            each.removeprefix(LAYOUT_PREFIX) for each in destinations if each.startswith(LAYOUT_PREFIX)
        ]
        own = [] if records is None or records.is_relative_to(self.work) else [records]
        return [self.work, *map(Path, layouts), *own]

    def prepare(self, plan: Plan) -> None:
        """Make the work folder and write the plan into it.

        Raises:
            FileProblemError: it cannot be written.
        """
        try:
            (self.work / "logs").mkdir(parents=True, exist_ok=True)
            (self.work / ".gitignore").write_text("*\n")
            write_whole(self.work / "plan.json", plan.to_json())
        except OSError as error:
            raise FileProblemError(
                f"{self.work} cannot be written: {error.strerror}", path=str(self.work)
            ) from error


def write_whole(path: Path, content: bytes) -> None:
    """Put a file in place, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(path)
