"""The journals of one command that writes to several destinations: one for each, told as one."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from anyarch.cli import journal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from anyarch.cli.journal import Journal
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store


class Journals:
    """The journals by destination. Use it as ``with begin_all(…) as journals``."""

    def __init__(self, by_name: Mapping[str, Journal], stack: ExitStack) -> None:
        self._by_name = by_name
        self._stack = stack

    def over(self, destination: str, store: Store) -> Store:
        """The store of a destination, with each write of an index or a tag written down first."""
        return self._by_name[destination].over(store)

    def stop(self) -> None:
        """Begin no more writes: an interruption has come."""
        for each in self._by_name.values():
            each.stop()

    def kept(self) -> str:
        """What an interrupted run leaves behind, for people."""
        found = [(name, each.kept()) for name, each in self._by_name.items()]
        if len(found) == 1:
            return found[0][1]
        return "\n".join(f"{name}: {words}" for name, words in found)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)


def begin_all(command: str, goals: Mapping[str, Sequence[Tag]], *, dry_run: bool = False) -> Journals:
    """Begin a journal for each destination, as ``journal.begin`` does.

    Args:
        command: Which.
        goals: The destinations, and the tags that are to move there.
        dry_run: Nothing will be written.
    """
    with ExitStack() as stack:
        found = {
            name: stack.enter_context(journal.begin(command, name, tags, dry_run=dry_run))
            for name, tags in goals.items()
        }
        return Journals(found, stack.pop_all())
