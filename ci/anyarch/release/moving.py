"""Moving tags, in one place or in several: fixed ones first, floating ones last."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from anyarch.errors import (
    AnyarchError,
    ImmutableTagError,
    LostRaceError,
    OffendersError,
    OlderRunError,
    RegistryError,
)
from anyarch.release.config import LAYOUT_PREFIX
from anyarch.release.parallel import in_parallel
from anyarch.release.tag_order import Kind, in_order, kind
from anyarch.shown import in_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence

    from anyarch.oci.digest import Digest
    from anyarch.oci.manifest import Manifest
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store

E = TypeVar("E", bound=AnyarchError)

_NEW: Final = len(Kind)  # what takes the place of nothing, behind every kind of what does


@dataclass(frozen=True, kw_only=True)
class TagMoves:
    """The tags of one place that are to point at a manifest, an index or a single image.

    ``before`` is what each points at now, None if it does not exist; ``movable`` are some that are known to
    be no immutable ones.
    """

    store: Store
    manifest: Manifest
    before: Mapping[Tag, Digest | None]
    movable: Collection[Tag] = frozenset()


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
        except RegistryError as error:
            if not error.is_refusal:  # what it did before its answer was lost, nobody knows
                unsure.append(one)
            raise
        moved.append(one)
        on_moved(one.place.store, one.tag, one.previous)

    by_name = {place.store.name: place for place in places}
    movable = {(name, tag) for name, place in by_name.items() for tag in place.movable}
    for step in steps({name: place.before for name, place in by_name.items()}, movable=movable):
        try:
            await in_parallel([partial(move, _Move(by_name[name], tag)) for name, tag in step])
        except RegistryError as error:
            if len(places) == 1:
                raise _with_hint(error, _words(_here(moved, unsure), _again(error))) from error
            raise _everywhere(error, places, moved, unsure) from error


def steps(
    places: Mapping[str, Mapping[Tag, Digest | None]], *, movable: Container[tuple[str, Tag]] = frozenset()
) -> Iterator[list[tuple[str, Tag]]]:
    """In which order tags move: fixed ones before floating ones, in all places.

    Where tags are immutable, those are refused that take the place of something, by whatever name a user
    knows a release: ``1.0``, ``2026-11``, ``nightly``. Among fixed tags and among floating ones they go
    first, each kind (``tag_order.kind``) in steps of its own, and ``latest`` only when they have moved.
    What is known to be ``movable`` needs no step before ``latest``.

    With several places the others that take the place of something come before new ones, too. Layouts
    refuse nothing and come after registries, each time the place named first after the others of its kind:
    what has moved there has moved everywhere.

    Args:
        places: The tags that move in each place, and what they point at, by the place's name.
        movable: Places and tags that have moved before.

    Yields:
        What moves at the same time: places and tags.
    """
    registries = [name for name in places if not name.startswith(LAYOUT_PREFIX)]
    layouts = [name for name in places if name.startswith(LAYOUT_PREFIX)]
    names = [*reversed(registries), *reversed(layouts)]

    def turn(name: str, tag: Tag) -> int:
        if places[name][tag] is None:
            return _NEW
        known = name in layouts or (name, tag) in movable
        return Kind.LATEST if known else kind(tag)

    turns: list[set[int]] = [{Kind.NUMBERED}, {Kind.WORD}, {Kind.LATEST}, {_NEW}]
    if len(names) == 1:
        turns[-2:] = [{Kind.LATEST, _NEW}]
    for group in in_order([tag for before in places.values() for tag in before]):
        for now in turns:
            for name in names:
                step = [(name, tag) for tag in group if tag in places[name] and turn(name, tag) in now]
                if step:
                    yield step


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
        raise _with_hint(error, _untouched(error, places)) from error


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
        return _with_hint(error, _untouched(error, len(places)), **facts)
    said = {"moved": "moved", "unsure": "moved or not, it did not say", "not_moved": "not moved"}
    lines = [f"{said[name]}: {', '.join(words)}" for name, words in facts.items() if words]
    again = _again(error)
    lines.append(f"{again}; or undo what was moved:" if again else "to undo what was moved:")
    lines += [f"  anyarch rollback {each} --to={each.previous}" for each in touched if each.previous]
    lines += [f"  {each} is new: delete it there" for each in touched if not each.previous]
    return _with_hint(error, "\n    ".join(["", *lines] if error.hint else lines), **facts)


def _untouched(error: RegistryError, places: int) -> str:
    return _words(f"no tag was moved at any of the {places} destinations", _again(error))


def _again(error: RegistryError) -> str:
    """Whether the same command can finish what this stopped; empty if it never will."""
    if isinstance(error, ImmutableTagError):
        return ""
    return "do the same again to finish" + (", once that is put right" if error.is_refusal else "")


def _words(*words: str) -> str:
    return "; ".join(filter(None, words))


def _with_hint(error: E, words: str, **facts: object) -> E:
    """The same error with more of a hint, and with further facts."""
    between = "" if words.startswith("\n") else "; "
    hint = in_lines(f"{error.hint}{between}{words}" if error.hint else words)
    facts = {**error.facts, **facts}
    if isinstance(error, OffendersError):
        return type(error)(error.what, offenders=error.offenders, hint=hint, **facts)
    return type(error)(error.what, hint=hint, **facts)
