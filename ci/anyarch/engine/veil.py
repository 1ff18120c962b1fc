"""What a build prints, without the secrets that we know it was given.

Dagger keeps its own secrets out of its output, but not a registry's answer that quotes a signed address, nor
a Dockerfile that prints what it was given by another way. A program that prints a secret reversed or in
Base64 of its own cannot be stopped here; what can be recognised is replaced, in the log as on the terminal.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_STARS: Final = "***"
# A shorter one is part of ordinary words, and stars in their place would give it away.
SECRET_MIN_CHARACTERS: Final = 4
_FILE_MAX_BYTES: Final = 64 * 1024
_FLAG: Final = re.compile(r"--secret=(?P<kind>env|file):(?P<where>.+)", re.DOTALL)
_USER: Final = re.compile(r"(?<=://)[^\s/@\"']+(?=@)")
_AUTHORIZATION: Final = re.compile(
    r"(?i)\b((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer)\s+)[^\s\"']+"
)
# Keys of signed addresses (S3, GCS, Azure, CloudFront) and of tokens in a query.
_QUERY: Final = re.compile(
    r"(?i)([?&](?:x-(?:amz|goog)-(?:signature|security-token|credential)|signature|sig|token|access_token"
    r"|refresh_token|password|key-pair-id|policy)=)[^&\s\"'<>]+"
)


@dataclass(frozen=True, slots=True)
class Veil:
    """Replaces secrets in lines of text."""

    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(
        cls,
        words: Iterable[str],
        *,
        username: str = "",
        password: str = "",
        environ: Mapping[str, str],
    ) -> Self:
        """Everything that a call of the client is given as a secret, as far as it can be known here.

        Args:
            words: The call's flags; ``--secret=env:NAME`` and ``--secret=file:PATH`` are looked up.
            username: The registry's user.
            password: The registry's password.
            environ: The environment of the call.
        """
        values = [password, *_given(words, environ)]
        if password:
            values.append(base64.b64encode(f"{username}:{password}".encode(errors="replace")).decode())
        forms = {form for value in values for form in _forms(value) if len(form) >= SECRET_MIN_CHARACTERS}
        return cls(tuple(sorted(forms, key=lambda form: (-len(form), form))))

    def __call__(self, text: str) -> str:
        """The text with stars in place of secrets."""
        for secret in self.secrets:
            text = text.replace(secret, _STARS)
        text = _USER.sub(_STARS, text) if "://" in text else text
        text = _QUERY.sub(rf"\1{_STARS}", text) if "=" in text else text
        return _AUTHORIZATION.sub(rf"\1{_STARS}", text)


def _given(words: Iterable[str], environ: Mapping[str, str]) -> Iterator[str]:
    for word in words:
        match = _FLAG.fullmatch(word)
        if match is None:
            continue
        if match["kind"] == "env":
            yield environ.get(match["where"], "")
        else:
            yield _read(Path(match["where"]).expanduser())


def _read(path: Path) -> str:
    """A small file's text; what cannot be read is the client's to complain about."""
    try:
        if not path.is_file() or path.stat().st_size > _FILE_MAX_BYTES:
            return ""
        return path.read_text(errors="replace")
    except (OSError, RuntimeError):
        return ""


def _forms(value: str) -> Iterator[str]:
    """As it stands, as it travels in addresses, and line by line: output comes in lines."""
    for part in {value.strip("\r\n"), *(line.strip() for line in value.splitlines())}:
        yield part
        encoded = part.encode(errors="replace")
        yield quote(encoded, safe="")
        yield quote_plus(encoded)
