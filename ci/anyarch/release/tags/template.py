"""The expressions in double braces: ``{{version}}``, ``{{date 'YYYYMMDD' tz='Asia/Tokyo'}}``.

docker/metadata-action has Handlebars for them (https://handlebarsjs.com/guide/expressions.html); these are
the expressions that its documentation names. Anything else is an error here, where Handlebars gives nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from anyarch.errors import UsageError
from anyarch.release.fields import nearest, quoted
from anyarch.release.tags.dates import time_zone

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

DATES: Final = frozenset({"date", "commit_date"})
GLOBALS: Final = DATES | {
    *("branch", "tag", "sha", "base_ref"),
    *("is_default_branch", "is_not_default_branch"),
}

_EXPRESSION: Final = re.compile(r"\{\{\{\s*(.*?)\s*\}\}\}|\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_BODY: Final = re.compile(
    r"""(?P<name>\w+)
        (?:\s+(?P<quote>['"])(?P<format>.*?)(?P=quote))?
        (?:\s+(?P<key>\w+)\s*=\s*(?P<quote2>['"])(?P<zone>.*?)(?P=quote2))?""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)
# Handlebars writes for HTML unless there are three braces.
_HTML: Final = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        '"': "&quot;",
        "'": "&#x27;",
        "`": "&#x60;",
        "=": "&#x3D;",
    }
)


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression. ``format`` and ``zone`` are a date's; ``plain`` is one in three braces."""

    name: str
    format: str = ""
    zone: str = "UTC"
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """A text with expressions in it."""

    parts: tuple[str | Expression, ...] = ()

    @classmethod
    def parse(cls, text: str, *, names: Collection[str]) -> Template:
        """Read a text.

        Args:
            text: The text.
            names: The expressions that have a meaning here.

        Raises:
            UsageError: an expression that is none of them, or is not closed.
        """
        if "${{" in text:
            raise UsageError(
                f"{quoted(text)}: only GitHub evaluates ${{{{ … }}}}, before an action sees it",
                hint="docs/tags.md says what to write instead, such as {{is_default_branch}} or type=match",
            )
        parts: list[str | Expression] = []
        end = 0
        for found in _EXPRESSION.finditer(text):
            parts += [text[end : found.start()], _expression(found, names)]
            end = found.end()
        rest = text[end:]
        if "{{" in rest:
            raise UsageError(f"{quoted(text)}: a {{{{ is not closed")
        return cls(tuple(part for part in (*parts, rest) if part))

    @property
    def fixed(self) -> str | None:
        """The text, if there is no expression in it."""
        return None if self.expressions else "".join(map(str, self.parts))

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """The expressions in it."""
        return tuple(part for part in self.parts if isinstance(part, Expression))

    def is_only(self, name: str) -> bool:
        """Whether this is one expression and nothing else."""
        return len(self.parts) == 1 and [each.name for each in self.expressions] == [name]

    def render(self, value: Callable[[Expression], str]) -> str:
        """Write the text; ``value`` says what an expression stands for."""
        return "".join(part if isinstance(part, str) else _written(part, value(part)) for part in self.parts)


NOTHING: Final = Template()


def check_templates(values: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with the expressions in labels or annotations, by name."""
    problems = {}
    for name, value in values.items():
        try:
            Template.parse(value, names=GLOBALS)
        except UsageError as error:
            problems[name] = f"{error.what}{f' ({error.hint})' if error.hint else ''}"
    return problems


def _written(expression: Expression, value: str) -> str:
    return value if expression.plain else value.translate(_HTML)


def _expression(found: re.Match[str], names: Collection[str]) -> Expression:
    unescaped, escaped = found.groups()
    body = escaped if unescaped is None else unescaped
    read = _BODY.fullmatch(body.removeprefix("&").strip())
    word = body.partition(" ")[0]
    if read is None and word in DATES & set(names):
        raise UsageError(
            f"{found[0][:80]}: format and time zone stand in quotes",
            hint=f"for example {{{{{word} 'YYYYMMDD'}}}} or {{{{{word} 'YYYYMMDD' tz='Europe/Paris'}}}}",
        )
    name = read["name"] if read else body
    if read is None or name not in names:
        near = None if name in GLOBALS else nearest(name, names)
        known = f"did you mean {{{{{near}}}}}?" if near else f"known here: {', '.join(sorted(names))}"
        raise UsageError(f"{found[0][:80]}: unknown expression; {known}")
    plain = unescaped is not None or body.startswith("&")
    if name not in DATES:
        if read["quote"] or read["key"]:
            raise UsageError(f"{found[0][:80]}: {name} takes nothing behind it")
        return Expression(name, plain=plain)
    if not read["quote"]:
        raise UsageError(f"{found[0][:80]}: no format", hint=f"for example {{{{{name} 'YYYYMMDD'}}}}")
    if read["key"] not in {None, "tz"}:
        raise UsageError(f"{found[0][:80]}: unknown attribute {read['key']}; expected tz='…'")
    zone = read["zone"] or "UTC"
    time_zone(zone)
    return Expression(name, format=read["format"], zone=zone, plain=plain)
