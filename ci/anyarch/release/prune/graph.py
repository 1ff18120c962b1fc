"""Who needs whom, and what may therefore go: pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from anyarch.release.prune.age import latest, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime, timedelta

    from anyarch.oci.digest import Digest

REFERRER: Final = "a referrer"

Kind = Literal["index", "image", "artifact", "blob"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One manifest, or one blob of a layout.

    Args:
        digest: Which.
        kind: What it is.
        size: Its own bytes; None if not known.
        names: What it cannot be without: an index its children, in a layout an image its config and layers.
        about: What it is about: its subject.
        content: Bytes of each config and layer that it brings along.
        platform: What it runs on, if it says; for people.
        created: When it says that it was made.
    """

    digest: Digest
    kind: Kind
    size: int | None = None
    names: tuple[Digest, ...] = ()
    about: tuple[Digest, ...] = ()
    content: Mapping[Digest, int] = field(default_factory=dict, hash=False)
    platform: str = ""
    created: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Something that may be superfluous.

    Args:
        digest: Which.
        since: When somebody last put it there or used it; None if nobody says.
        why: How it became a candidate, for people; empty for what merely belongs to one.
    """

    digest: Digest
    since: datetime | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What was read.

    Args:
        nodes: Every manifest that was read.
        companions: What lives and dies with a digest though that does not name it: attestations about
            it, signatures, referrers.
    """

    nodes: Mapping[Digest, Node]
    companions: Mapping[Digest, Iterable[Digest]]

    def needed_by(self, roots: Mapping[Digest, str]) -> dict[Digest, str]:
        """All that the roots need, each with the reason."""
        needed = dict(roots)
        todo = list(roots)
        while todo:
            digest = todo.pop()
            for other, how in self._held_by(digest):
                if other not in needed:
                    needed[other] = f"{how} {digest.short}, which stays: {_first_reason(needed[digest])}"
                    todo.append(other)
        return needed

    def in_order(self, digests: Iterable[Digest]) -> tuple[Digest, ...]:
        """Whoever names something before what is named: no index ever lacks a child."""
        chosen = set(digests)
        waiting = Counter(
            name for digest in chosen for name in set(self._names(digest)) & chosen if name != digest
        )
        ready = sorted((digest for digest in chosen if not waiting[digest]), reverse=True)
        ordered: list[Digest] = []
        while ready:
            digest = ready.pop()
            ordered.append(digest)
            for name in sorted(set(self._names(digest)) & chosen, reverse=True):
                waiting[name] -= 1
                if not waiting[name]:
                    ready.append(name)
        return tuple(ordered)

    def _names(self, digest: Digest) -> tuple[Digest, ...]:
        node = self.nodes.get(digest)
        return () if node is None else (*node.names, *node.about)

    def _held_by(self, digest: Digest) -> list[tuple[Digest, str]]:
        named = [(name, "named by") for name in self._names(digest)]
        return named + [(other, "belongs to") for other in self.companions.get(digest, ())]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What may go, in the order in which it may, and why the other candidates stay.

    ``young`` are those that nothing needs, and that stay for their age alone.
    """

    remove: tuple[Digest, ...]
    kept: Mapping[Digest, str]
    young: frozenset[Digest]
    since: Mapping[Digest, datetime | None]


def decide(
    graph: Graph,
    candidates: Mapping[Digest, Candidate],
    roots: Mapping[Digest, str],
    *,
    now: datetime,
    older_than: timedelta,
) -> Verdict:
    """Weigh every candidate: needed things stay, young ones stay with all they need, unknown is young."""
    since = ages(graph, candidates)
    kept = graph.needed_by(roots)
    young: dict[Digest, str] = {}
    for digest in candidates:
        when = since[digest]
        if digest in kept or digest not in graph.nodes:
            continue
        if when is None:
            young[digest] = "nobody says how old it is"
        elif now - when < older_than:
            young[digest] = f"{words(now - when)} old"
    kept = {**graph.needed_by(young), **young, **kept}
    remove = graph.in_order(digest for digest in candidates if digest in graph.nodes and digest not in kept)
    return Verdict(remove=remove, kept=kept, young=frozenset(young), since=since)


def ages(graph: Graph, candidates: Mapping[Digest, Candidate]) -> dict[Digest, datetime | None]:
    """When each candidate was last put there or used.

    What somebody saw counts before what a manifest says about itself: built again from an old commit, it
    may call itself old. What belongs to an index is seen with it, and as young as the youngest one.
    """
    above: defaultdict[Digest, set[Digest]] = defaultdict(set)
    for digest in candidates:
        node = graph.nodes.get(digest)
        for other in [*(node.names if node else ()), *graph.companions.get(digest, ())]:
            above[other].add(digest)
    found = {digest: each.since for digest, each in candidates.items()}
    _pass_on(found, above)
    for digest, when in list(found.items()):
        found[digest] = latest((when, _said(graph, digest)))
    _pass_on(found, above)
    return found


def _pass_on(found: dict[Digest, datetime | None], above: Mapping[Digest, set[Digest]]) -> None:
    """Hand known times down to those that have none, as far as they reach."""
    changed = True
    while changed:
        changed = False
        for digest, when in found.items():
            inherited = latest(found[other] for other in above.get(digest, ())) if when is None else None
            if inherited is not None:
                found[digest], changed = inherited, True


def _said(graph: Graph, digest: Digest) -> datetime | None:
    """What a manifest says of its age, or else its images do."""
    node = graph.nodes.get(digest)
    if node is None or node.created is not None:
        return None if node is None else node.created
    return latest(graph.nodes[name].created for name in node.names if name in graph.nodes)


def by_referrer(reason: str) -> bool:
    """Whether something stays for a referrer alone."""
    return _first_reason(reason).startswith(REFERRER)


def _first_reason(reason: str) -> str:
    return reason.rpartition("stays: ")[2]
