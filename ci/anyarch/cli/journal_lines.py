"""What a journal says, line by line, and how the next run tells it.

One JSON object a line: ``begin``, then ``write`` or ``delete`` before and ``done`` after each write (``left``
where it was not begun after all, ``refused`` where it certainly was not done), then ``end``. Whatever else
stands in the file is passed over: it is read to inform, never to decide.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from anyarch.errors import AnyarchError
from anyarch.oci import strict_json
from anyarch.oci.digest import Digest
from anyarch.oci.reference import Tag
from anyarch.release.history import is_history_tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Outcome = Literal["done", "failed", "interrupted"]
Was: TypeAlias = Digest | Literal["new", "unknown"]

LINE_MAX_BYTES: Final = 1024 * 1024
_NAMED_MAX: Final = 20
_ENDED: Final = {"failed": "was stopped by an error", "interrupted": "was interrupted"}


@dataclass(slots=True)
class Done:
    """What one run of a command had written, as far as is known.

    Args:
        tags: Those that it was to move.
        begun: What it began to write, and what was there before.
        deleted: What of that it began to delete.
        answered: What of all that the store had confirmed.
        refused: What the store would not do.
        outcome: How it ended; None: it was killed, or is still at work.
    """

    command: str = ""
    destination: str = ""
    when: str = ""
    tags: list[str] = field(default_factory=list)
    begun: dict[str, Was] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    outcome: Outcome | None = None

    def take(self, line: Mapping[str, object]) -> None:
        """Learn one line; what it does not say as we would is as if it were not there."""
        target = _word(line.get("target"))
        match line.get("do"):
            case "begin":
                self.command, self.when = _word(line.get("command")), _word(line.get("when"))
                self.destination = _word(line.get("destination"))
                tags = line.get("tags")
                self.tags = [word for word in map(_tag, tags if isinstance(tags, list) else []) if word]
            case "write" | "delete" if target:
                self.begun[target] = _was(line)
                self.answered.discard(target)
                if line["do"] == "delete":
                    self.deleted.add(target)
            case "left" | "refused" if target:
                self.begun.pop(target, None)
                self.deleted.discard(target)
                if line["do"] == "refused":
                    self.refused.add(target)
            case "done" if target:
                self.answered.add(target)
            case "end":
                self.outcome = next((each for each in get_args(Outcome) if each == line.get("outcome")), None)
            case _:
                pass

    def states(self) -> list[str]:
        """What is written, what is not known, and what was left as it was; for people."""
        begun = [target for target in self.begun if not is_history_tag(target)]
        deleted = [target for target in begun if target in self.answered & self.deleted]
        written = [target for target in begun if target in self.answered - self.deleted]
        unclear = [target for target in begun if target not in self.answered]
        left = [tag for tag in self.tags if tag not in self.begun and tag not in self.refused]
        return [
            f"{what}: {_joined(targets, self.begun)}"
            for what, targets in (
                ("written", written),
                ("deleted", deleted),
                ("begun, and not confirmed", unclear),
                ("refused", sorted(target for target in self.refused if not is_history_tag(target))),
                ("as they were", left),
            )
            if targets
        ]

    def told(self, tags: Sequence[str]) -> list[str]:
        """What the next run of the same command, which moves ``tags``, tells about this one.

        Nothing where all went well, or where an error came before anything was written that can be seen:
        that was told.
        """
        if not self.command or self.outcome == "done" or (self.outcome == "failed" and not self._shows()):
            return []
        how = _ENDED.get(self.outcome or "", "did not end: it was killed, or the machine stopped")
        lines = [f"an earlier anyarch {self.command} to {self.destination}, begun {self.when}, {how}"]
        lines += [f"  {state}" for state in self.states() or ["it had written nothing"]]
        now = ", ".join(tag for tag in tags if tag in self.tags)
        finishes = f" and finishes: {now}" if now else "" if self.tags else " and finishes what is left"
        lines.append(f"  this run looks at everything again{finishes}")
        others = [tag for tag in self.tags if tag not in {*tags, *self.answered, *self.refused}]
        if others:
            are = "which is" if len(others) == 1 else "which are"
            lines.append(f"  it does not move {', '.join(others)}, {are} not among its tags")
        return lines

    def _shows(self) -> bool:
        """Whether anything is, or may be, other than it was; an index without a tag is nothing yet."""
        return any(
            target not in self.answered or target in self.deleted or not _is_digest(target)
            for target in self.begun
        )


def read(raw: bytes) -> Done:
    """The run that a journal is of; whatever is damaged in it is passed over."""
    done = Done()
    for line in raw.split(b"\n"):
        try:
            done.take(strict_json.loads_object(line, subject="journal", max_bytes=LINE_MAX_BYTES))
        except AnyarchError:
            continue
    return done


def begin(command: str, destination: str, tags: Sequence[str], when: str) -> dict[str, object]:
    """The first line."""
    return {
        "do": "begin",
        "journal": 1,
        "command": command,
        "destination": destination,
        "tags": list(tags),
        "when": when,
    }


def write(target: Digest | Tag, digest: Digest, was: Was) -> dict[str, object]:
    """The line before a manifest is written under its digest or a tag."""
    return {"do": "write", "target": str(target), "digest": str(digest), "was": str(was)}


def delete(target: Digest) -> dict[str, object]:
    """The line before a manifest is removed."""
    return {"do": "delete", "target": str(target), "was": str(target)}


def done(target: Digest | Tag) -> dict[str, object]:
    """The line after the store confirmed a write."""
    return {"do": "done", "target": str(target)}


def left(target: Digest | Tag) -> dict[str, object]:
    """The line after an interruption came before the write itself: it was not begun after all."""
    return {"do": "left", "target": str(target)}


def refused(target: Digest | Tag) -> dict[str, object]:
    """The line after the store would not do it."""
    return {"do": "refused", "target": str(target)}


def end(outcome: Outcome, when: str) -> dict[str, object]:
    """The last line."""
    return {"do": "end", "outcome": outcome, "when": when}


def encoded(line: Mapping[str, object]) -> bytes:
    """A line as it stands in the file."""
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _word(value: object) -> str:
    """A short text that a terminal may be shown; empty for anything else."""
    return value if isinstance(value, str) and len(value) <= 1024 and value.isprintable() else ""


def _tag(value: object) -> str:
    try:
        return str(Tag.parse(_word(value)))
    except AnyarchError:
        return ""


def _was(line: Mapping[str, object]) -> Was:
    word = line.get("was")
    if word == "new":
        return "new"
    try:
        return Digest.parse(_word(word))
    except AnyarchError:
        return "unknown"


def _joined(targets: Sequence[str], begun: Mapping[str, Was]) -> str:
    words = []
    for target in targets[:_NAMED_MAX]:
        was = begun.get(target)
        words.append(target if was is None or _is_digest(target) else f"{target} ({_before(was)})")
    more = len(targets) - len(words)
    return ", ".join(words) + (f" and {more} more" if more > 0 else "")


def _is_digest(target: str) -> bool:
    return ":" in target


def _before(was: Was) -> str:
    return "new" if was == "new" else f"was {was}"
