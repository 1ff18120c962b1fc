"""What a comparison finds, as values: printed by ``text``, written by ``to_json``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.oci.platforms import Platform


class Side(StrEnum):
    """The two images, as the command line names them."""

    A = "A"
    B = "B"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One property that differs. ``a`` and ``b`` are what each side has; None where it has nothing."""

    what: str
    a: str | None
    b: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that differs between two images of a platform.

    Args:
        area: ``config.env``, ``config.labels`` … or ``file``.
        name: A key or a path, safe to print; empty where the area is a single value.
        changes: The properties that differ; empty for a path that one side lacks.
        only_in: The side that has the path at all; None if both have.
        kind: What a path on one side only is.
    """

    area: str
    name: str
    changes: tuple[Change, ...] = ()
    only_in: Side | None = None
    kind: str = ""

    def to_fields(self) -> dict[str, object]:
        """The JSON form."""
        fields: dict[str, object] = {"area": self.area, "name": self.name}
        if self.only_in is not None:
            fields |= {"only_in": self.only_in.value, "kind": self.kind}
        if self.changes:
            fields["changes"] = [{"what": each.what, "a": each.a, "b": each.b} for each in self.changes]
        return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformDiff:
    """What differs for one platform.

    Args:
        platform: Which one.
        only_in: The side that has the platform at all; None if both have.
        same_digest: Both are the same manifest, so that nothing had to be read.
        paths: How many paths were compared; 0 where equal layers needed no reading.
        differences: Config first, then files in order of path.
    """

    platform: Platform
    only_in: Side | None = None
    same_digest: bool = False
    paths: int = 0
    differences: tuple[Difference, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return self.only_in is None and not self.differences

    def to_fields(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "platform": str(self.platform),
            "same": self.same,
            "same_digest": self.same_digest,
            "only_in": None if self.only_in is None else self.only_in.value,
            "paths": self.paths,
            "differences": [difference.to_fields() for difference in self.differences],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesDiff:
    """The whole comparison: ``a`` and ``b`` are the names of the two images."""

    a: str
    b: str
    platforms: tuple[PlatformDiff, ...]

    @property
    def same(self) -> bool:
        """Whether the images are the same as far as was asked."""
        return all(platform.same for platform in self.platforms)

    @property
    def differing(self) -> Sequence[PlatformDiff]:
        """The platforms that differ."""
        return [platform for platform in self.platforms if not platform.same]

    def to_fields(self) -> dict[str, object]:
        """Everything, as docs/schemas/diff.schema.json has it."""
        return {
            "schema": 1,
            "a": self.a,
            "b": self.b,
            "same": self.same,
            "platforms": [platform.to_fields() for platform in self.platforms],
        }
