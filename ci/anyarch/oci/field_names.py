"""Names of fields that readers in Go, nearly all clients and runtimes, do not tell apart by case.

Go's encoding/json takes ``Manifests``, and ``manifests`` written with a long s, for ``manifests``, and the
last one wins (https://pkg.go.dev/encoding/json#Unmarshal). An object with such a name is one thing to us
and another to them, so it is refused. That counts for objects of known fields only: the keys of annotations,
labels, volumes and ports are their owner's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from anyarch.errors import ContentError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Names:
    """The fields of one kind of object, and under them the objects that have names of their own."""

    known: frozenset[str]
    inner: Mapping[str, Names] = field(default_factory=dict)

    def check(self, fields: object, *, subject: str) -> None:
        """Refuse names that only look like one of ours. What is no object is for somebody else to judge.

        Raises:
            ContentError: there is one; ``subject`` says in what.
        """
        if not isinstance(fields, dict):
            return
        if fields.keys() - self.known:
            ours = {name.casefold(): name for name in self.known}
            for name in fields:
                if name not in self.known and (meant := ours.get(name.casefold())):
                    raise ContentError(f"{subject}: has {name!r}, which many readers take for {meant!r}")
        for name, names in self.inner.items():
            found = fields.get(name)
            for each in found if isinstance(found, list) else (found,):
                names.check(each, subject=subject)


def _names(words: str, **inner: Names) -> Names:
    return Names(frozenset(words.split()) | inner.keys(), inner)


# https://github.com/opencontainers/image-spec/blob/main/descriptor.md, and for the platform image-index.md;
# "features" is of Docker's list
_DESCRIPTOR: Final = _names(
    "mediaType digest size urls annotations data artifactType",
    platform=_names("architecture os os.version os.features variant features"),
)
# https://github.com/opencontainers/image-spec/blob/main/manifest.md and image-index.md: one list for both,
# as a document of one kind with a field of the other is refused, too
DOCUMENT: Final = _names(
    "schemaVersion mediaType artifactType annotations",
    config=_DESCRIPTOR,
    layers=_DESCRIPTOR,
    manifests=_DESCRIPTOR,
    subject=_DESCRIPTOR,
)
# https://github.com/opencontainers/image-spec/blob/main/config.md; of ``config`` also what Docker adds:
# https://github.com/moby/docker-image-spec/blob/main/spec.md and container.Config of the Docker API
CONFIG: Final = _names(
    "created author architecture os os.version os.features variant",
    rootfs=_names("type diff_ids"),
    history=_names("created author created_by comment empty_layer"),
    config=_names(
        "User ExposedPorts Env Entrypoint Cmd Volumes WorkingDir Labels StopSignal ArgsEscaped Memory "
        "MemorySwap CpuShares Hostname Domainname AttachStdin AttachStdout AttachStderr Tty OpenStdin "
        "StdinOnce Image NetworkDisabled MacAddress OnBuild StopTimeout Shell",
        Healthcheck=_names("Test Interval Timeout StartPeriod StartInterval Retries"),
    ),
)
