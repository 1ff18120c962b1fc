"""What an image says about itself: the labels and annotations of the OCI, and the author's own.

https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md. All of it follows from the commit
and the rules, never from the clock: the same commit gives the same bytes.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, Final

from anyarch.errors import ConfigError
from anyarch.release import marks
from anyarch.release.fields import TEXT_MAX_CHARACTERS
from anyarch.release.tags.expansion import expand
from anyarch.release.tags.template import GLOBALS, Template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyarch.release.config import BuildSettings, Config
    from anyarch.release.tags.context import Context

PREFIX: Final = "org.opencontainers.image."


def described(
    config: Config, context: Context | None, *, version: str | None, revision: str | None
) -> BuildSettings:
    """The build settings with all labels and annotations that the images get.

    The author's own count more than those that follow from the commit.

    Args:
        config: The file.
        context: What happened; None: nothing is known of it.
        version: The tag that is the version.
        revision: The commit as the plan names it.

    Raises:
        ConfigError: an expression has a value that no label can have.
    """
    build = config.build
    if context is None:
        return build
    length = config.tags.short_sha_length if config.tags else None

    def written(values: Mapping[str, str]) -> dict[str, str]:
        texts = {name: Template.parse(value, names=GLOBALS) for name, value in values.items()}
        return {name: _checked(name, expand(text, context, length)) for name, text in texts.items()}

    known = standard(context, version=version, revision=revision) if config.oci_labels else {}
    # The manifest's revision has a way of its own: merge holds it against the plan's.
    without_revision = {name: word for name, word in known.items() if name != marks.REVISION}
    return replace(
        build,
        labels={**known, **written(build.labels)},
        annotations={**without_revision, **written(build.annotations)},
    )


def _checked(name: str, value: str) -> str:
    """A value as a plan may carry it, so that it is refused here and not by merge."""
    if len(value) > TEXT_MAX_CHARACTERS or not value.isprintable():
        raise ConfigError(
            f'label or annotation "{name}" would be {value[:80]!r}',
            hint=f"expected up to {TEXT_MAX_CHARACTERS} printable characters on one line",
        )
    return value


def standard(context: Context, *, version: str | None, revision: str | None) -> dict[str, str]:
    """What the OCI has names for and a commit tells: on a laptop the same as in a workflow.

    What only GitHub knows, description and licence, is the author's to say: no laptop knows it, and whoever
    edits it there would give the same commit another digest.
    """
    date = context.source_date or context.commit_date
    known = {
        "created": date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if date else "",
        "revision": revision or "",
        "source": context.source,
        "title": context.source.rpartition("/")[2],
        "url": context.source,
        "version": version or "",
    }
    return {f"{PREFIX}{name}": word for name, word in known.items() if word and word.isprintable()}
