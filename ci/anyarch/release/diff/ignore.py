"""Patterns for what a comparison leaves out: paths and config settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from anyarch.errors import UsageError

_CONFIG: Final = "config."
_TOKEN: Final = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Ignore:
    """Which paths and which config settings do not count.

    A pattern with a slash is a whole path from the root, one without is a name in any directory, as in
    .gitignore: ``*`` and ``?`` stop at a slash, ``**`` does not. A directory that matches covers all
    below it. ``config.labels.org.opencontainers.image.*`` and the like are about the config; there
    ``*`` matches anything.
    """

    paths: re.Pattern[str] | None = None
    config: re.Pattern[str] | None = None

    @classmethod
    def parse(cls, patterns: tuple[str, ...]) -> Self:
        """Read what ``--ignore`` was given.

        Raises:
            UsageError: an empty pattern.
        """
        if not all(pattern.strip("/") for pattern in patterns):
            raise UsageError("--ignore was given an empty pattern", hint="for example --ignore '/var/log/**'")
        config = [_translated(each, slash="") for each in patterns if each.startswith(_CONFIG)]
        paths = [_path(each) for each in patterns if not each.startswith(_CONFIG)]
        return cls(_joined(paths), _joined(config))

    def path(self, path: str) -> bool:
        """Whether ``path``, and all below it, is left out."""
        return self.paths is not None and self.paths.fullmatch(path) is not None

    def setting(self, name: str) -> bool:
        """Whether a config setting is left out: ``config.env.PATH``."""
        return self.config is not None and self.config.fullmatch(name) is not None


def _path(pattern: str) -> str:
    inner = pattern.rstrip("/")
    anchor = "/" if "/" in inner else "(?:/|/.*/)"
    return anchor + _translated(inner.lstrip("/"), slash="/")


def _translated(pattern: str, *, slash: str) -> str:
    """A glob as a regular expression; ``slash`` is what ``*`` and ``?`` do not match."""
    one = f"[^{slash}]" if slash else "."
    words = {"**/": "(?:.*/)?", "**": ".*", "*": f"{one}*", "?": one}
    return "".join(words.get(token) or _literal(token) for token in _TOKEN.findall(pattern))


def _literal(token: str) -> str:
    if len(token) < 3:
        return re.escape(token)
    negated, members = token[1] == "!", token[1:-1].removeprefix("!").replace("\\", "\\\\")
    return f"[{'^' if negated else ''}{members.replace('[', chr(92) + '[').replace('^', chr(92) + '^')}]"


def _joined(patterns: list[str]) -> re.Pattern[str] | None:
    try:
        return re.compile("|".join(f"(?:{each})" for each in patterns), re.DOTALL) if patterns else None
    except re.error as error:
        raise UsageError(f"--ignore: not a pattern: {error}") from error
