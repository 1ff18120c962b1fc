"""What people write behind flags, read into what the library and the engine take."""

from collections.abc import Sequence

import dagger
from anyarch.errors import UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Tag
from anyarch.release.plan import PlannedPlatform, parse_revision
from anyarch.release.reserved import release_tag
from anyarch.release.secret_lines import parse_secret_lines
from dagger import dag


def pairs(words: Sequence[str] | None, *, flag: str) -> dict[str, str]:
    """Read ``NAME=VALUE`` words; a value may hold further ``=``, the last of equal names counts.

    Raises:
        UsageError: a word without a name or without ``=``.
    """
    read = {}
    for word in words or ():
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise UsageError(f"{flag} {word[:160]!r} is not NAME=VALUE", flag=flag)
        read[name] = value
    return read


def platforms(words: Sequence[str] | None) -> tuple[PlannedPlatform, ...]:
    """The platforms that a release must have, each required.

    Raises:
        UsageError: not a platform, or the same one twice.
    """
    read = [Platform.parse(word) for word in words or ()]
    if twice := {str(platform) for platform in read if read.count(platform) > 1}:
        raise UsageError(f"--platform names {', '.join(sorted(twice))} twice")
    return tuple(PlannedPlatform(platform=platform, why="--platform") for platform in read)


def tags(words: Sequence[str] | None) -> tuple[Tag, ...]:
    """The tags, each once.

    Raises:
        UsageError: a word that no registry takes as a tag, or one of our own tags.
    """
    return tuple(dict.fromkeys(release_tag(word) for word in words or ()))


def plan_digest(word: str) -> Digest | None:
    """A plan's digest; None for an empty word.

    Raises:
        UsageError: not a digest.
    """
    return Digest.parse(word) if word else None


def revision(word: str) -> str | None:
    """What names the source; None for an empty word.

    Raises:
        UsageError: too long, or with white space or control characters.
    """
    return parse_revision(word) if word else None


async def named_secrets(
    secrets: Sequence[dagger.Secret] | None, names: Sequence[str] | None, lines: dagger.Secret | None = None
) -> list[dagger.Secret]:
    """Give each secret the id that the Dockerfile's ``--mount=type=secret,id=…`` asks for.

    Args:
        secrets: One for each id.
        names: The ids.
        lines: Values for some ids, in place of those secrets, which are not read then.

    Raises:
        UsageError: not as many ids as secrets, or lines that cannot be understood.
    """
    secrets, names = secrets or (), names or ()
    if len(secrets) != len(names):
        raise UsageError(
            f"{len(secrets)} --secret, but {len(names)} --secret-id",
            hint="give one --secret-id for each --secret, in the same order",
        )
    given = parse_secret_lines(await lines.plaintext(), known=names) if lines else {}
    return [
        dag.set_secret(name, given[name] if name in given else await secret.plaintext())
        for name, secret in zip(names, secrets, strict=True)
    ]
