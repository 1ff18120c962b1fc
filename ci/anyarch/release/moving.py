"""Moving tags, in one place or in several: fixed ones first, floating ones last."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio

from anyarch.errors import (
    AnyarchError,
    ContentError,
    LostRaceError,
    OffendersError,
    OlderRunError,
    RegistryError,
    RegistryProtocolError,
    RegistryUnavailableError,
)
from anyarch.release.config import LAYOUT_PREFIX
from anyarch.release.parallel import in_parallel
from anyarch.release.tag_order import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from anyarch.oci.digest import Digest
    from anyarch.oci.manifest import Manifest
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store

E = TypeVar("E", bound=AnyarchError)


@dataclass(frozen=True, kw_only=True)
class TagMoves:
    """The tags of one place that are to point at a manifest, an index or a single image.

    ``before`` is what each points at now, None if it does not exist.
    """

    store: Store
    manifest: Manifest
    before: Mapping[Tag, Digest | None]


@dataclass(frozen=True)
class _Move:
    """One tag in one place."""

    place: TagMoves
    tag: Tag

    @property
    def previous(self) -> Digest | None:
        return self.place.before[self.tag]

    def __str__(self) -> str:
        return f"{self.place.store.name}:{self.tag}"


async def move_tags(
    places: Sequence[TagMoves], *, on_moved: Callable[[Store, Tag, Digest | None], None]
) -> None:
    """Point tags at a manifest that is already there, in every place.

    A write in flight is finished even if the task is cancelled, none is started then. Tags of one step
    (``steps``) move at the same time. ``read_back`` comes next.

    Args:
        places: The tags that must move. Their manifests are there.
        on_moved: Told place, tag and what it pointed at as each write is answered.

    Raises:
        RegistryError: a write failed; the message says which tags had moved, which had not, and what to do.
    """
    moved: list[_Move] = []
    unsure: list[_Move] = []

    async def move(one: _Move) -> None:
        try:
            with anyio.CancelScope(shield=True):  # bounded: every call of a store has a deadline
                await one.place.store.put(one.tag, one.place.manifest)
        except (RegistryUnavailableError, RegistryProtocolError, ContentError):
            unsure.append(one)  # no refusal: what it did before its answer was lost, nobody knows
            raise
        moved.append(one)
        on_moved(one.place.store, one.tag, one.previous)

    by_name = {place.store.name: place for place in places}
    for step in steps({name: place.before for name, place in by_name.items()}):
        try:
            await in_parallel([partial(move, _Move(by_name[name], tag)) for name, tag in step])
        except RegistryError as error:
            if len(places) == 1:
                raise _with_hint(error, f"{_here(moved, unsure)}; do the same again to finish") from error
            raise _everywhere(error, places, moved, unsure) from error


def steps(places: Mapping[str, Mapping[Tag, Digest | None]]) -> Iterator[list[tuple[str, Tag]]]:
    """In which order tags move: fixed ones before floating ones, in all places.

    With several places those tags go first that take the place of something: where tags are immutable, it
    is they that are refused. Layouts refuse nothing and come after registries, each time the place named
    first after the others of its kind: what has moved there has moved everywhere.

    Args:
        places: The tags that move in each place, and what they point at, by the place's name.

    Yields:
        What moves at the same time: places and tags.
    """
    registries = [name for name in places if not name.startswith(LAYOUT_PREFIX)]
    layouts = [name for name in places if name.startswith(LAYOUT_PREFIX)]
    names = [*reversed(registries), *reversed(layouts)]
    for group in in_order([tag for before in places.values() for tag in before]):
        if len(names) == 1:
            yield [(names[0], tag) for tag in group]
            continue
        for replaces in (True, False):
            for name in names:
                before = places[name]
                tags = [tag for tag in group if tag in before]
                yield [(name, tag) for tag in tags if (before[tag] is not None) == replaces]


@contextmanager
def before_tags(places: int) -> Iterator[None]:
    """Let an error say, where there are several places, that no tag has moved in any.

    Raises:
        RegistryError: the error.
    """
    try:
        yield
    except RegistryError as error:
        if places == 1:
            raise
        raise _with_hint(error, _untouched(places)) from error


@contextmanager
def after_tags(places: Sequence[TagMoves]) -> Iterator[None]:
    """Let an error say, where there are several places, that all tags have moved in all of them.

    Raises:
        LostRaceError: the error; somebody else's release is at one place.
        OlderRunError: the same.
        RegistryError: the error.
    """
    try:
        yield
    except (RegistryError, LostRaceError, OlderRunError) as error:
        moved = [str(_Move(place, tag)) for place in places for tag in place.before]
        if len(places) == 1 or not moved:
            raise
        words = f"every tag was moved at all {len(places)} destinations, and what is not named here stays so"
        raise _with_hint(error, words, moved=moved, unsure=[], not_moved=[]) from error


def _here(moved: Sequence[_Move], unsure: Sequence[_Move]) -> str:
    """What became of the tags of the only place."""
    groups = {"tags that had moved before": moved, "moved or not, it did not say": unsure}
    found = [
        f"{what}: " + ", ".join(f"{each.tag} (was {each.previous or 'not there'})" for each in tags)
        for what, tags in groups.items()
        if tags
    ]
    return "; ".join([*found, "the others are as they were"]) if found else "no tag was moved"


def _everywhere(
    error: RegistryError, places: Sequence[TagMoves], moved: Sequence[_Move], unsure: Sequence[_Move]
) -> RegistryError:
    """The same error, saying what became of every tag in every place, and what finishes or undoes it."""
    every = [_Move(place, tag) for place in places for tag in place.before]
    touched = [*moved, *unsure]
    left = [each for each in every if str(each) not in set(map(str, touched))]
    groups = {"moved": moved, "unsure": unsure, "not_moved": left}
    facts = {name: list(map(str, moves)) for name, moves in groups.items()}
    if not touched:
        return _with_hint(error, _untouched(len(places)), **facts)
    said = {"moved": "moved", "unsure": "moved or not, it did not say", "not_moved": "not moved"}
    lines = [f"{said[name]}: {', '.join(words)}" for name, words in facts.items() if words]
    lines.append("do the same again to finish; or undo what was moved:")
    lines += [f"  anyarch rollback {each} --to={each.previous}" for each in touched if each.previous]
    lines += [f"  {each} is new: delete it there" for each in touched if not each.previous]
    return _with_hint(error, "\n    ".join(["", *lines] if error.hint else lines), **facts)


def _untouched(places: int) -> str:
    return f"no tag was moved at any of the {places} destinations; do the same again to finish"


def _with_hint(error: E, words: str, **facts: object) -> E:
    """The same error with more of a hint, and with further facts."""
    between = "" if words.startswith("\n") else "; "
    hint = f"{error.hint}{between}{words}" if error.hint else words
    facts = {**error.facts, **facts}
    if isinstance(error, OffendersError):
        return type(error)(error.what, offenders=error.offenders, hint=hint, **facts)
    return type(error)(error.what, hint=hint, **facts)
