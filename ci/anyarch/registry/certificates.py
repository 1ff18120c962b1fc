"""Whose certificates a registry's TLS is held against.

SSL_CERT_FILE and SSL_CERT_DIR as OpenSSL and Go read them, else the system's own store; and the
authorities of a single registry, where Docker and Podman look for them. There is no way to switch the
check off: a registry without TLS is declared insecure, and then no TLS is pretended.
"""

from __future__ import annotations

import os
import platform
import re
import ssl
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyarch.errors import RegistryUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anyarch.registry.urls import Origin

# ``HOST:PORT/*.crt`` below these: https://docs.docker.com/engine/security/certificates/
REGISTRY_FOLDERS: Final = (Path("/etc/docker/certs.d"), Path("/etc/containers/certs.d"))
# Where systems keep them whose Python was built elsewhere: Debian, Fedora, Alpine, SUSE.
_SYSTEM_FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
)
_FILE_VARIABLE: Final = "SSL_CERT_FILE"
_FOLDERS_VARIABLE: Final = "SSL_CERT_DIR"
_HASHED: Final = re.compile(r"[0-9a-f]{8}\.[0-9]+")
_FILE_MAX_BYTES: Final = 4 * 1024 * 1024


def tls_context(
    origin: Origin, environ: Mapping[str, str], *, folders: Sequence[Path] = REGISTRY_FOLDERS
) -> ssl.SSLContext:
    """TLS as a client: the certificate must be good, and be this host's.

    Args:
        origin: Whom to talk to; nothing is trusted where it speaks plain HTTP.
        environ: For SSL_CERT_FILE and SSL_CERT_DIR.
        folders: Where authorities of single registries are.

    Raises:
        RegistryUnavailableError: a file of certificates cannot be read, or holds none.
    """
    if origin.scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if environ.get(_FILE_VARIABLE) or environ.get(_FOLDERS_VARIABLE):
        context = _from_environment(environ)
    else:
        context = _from_system()
    for folder in folders:
        for netloc in {origin.netloc, f"{origin.host}:{origin.port}"}:
            for path in sorted((folder / netloc).glob("*.crt")):
                _load(context, path, why=f"an authority of {origin.netloc}")
    return context


def _from_system() -> ssl.SSLContext:
    """The system's own authorities, where its OpenSSL was built to look or where systems keep them."""
    if platform.system() != "Linux":  # they are in no file there
        import httpx2  # noqa: PLC0415  slow to import, and good at just this

        return httpx2.create_ssl_context(trust_env=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    paths = ssl.get_default_verify_paths()
    files = [path for path in (paths.openssl_cafile, *_SYSTEM_FILES) if Path(path).is_file()]
    folder = paths.openssl_capath if Path(paths.openssl_capath).is_dir() else None
    if files or folder:
        context.load_verify_locations(files[0] if files else None, folder)
    return context


def _from_environment(environ: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_default_verify_paths()  # OpenSSL's own: what only one variable replaces stays in the other
    if file := environ.get(_FILE_VARIABLE):
        _load(context, Path(file), why=_FILE_VARIABLE)
    for name in filter(None, environ.get(_FOLDERS_VARIABLE, "").split(os.pathsep)):
        _load_folder(context, Path(name))
    return context


def _load_folder(context: ssl.SSLContext, folder: Path) -> None:
    """Every certificate of a folder, hashed names or not; like Go, what is none is passed over."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise RegistryUnavailableError(
            f"{_FOLDERS_VARIABLE} names {folder}, which cannot be read: {error.strerror}",
            hint="correct or unset it",
        ) from error
    if any(_HASHED.fullmatch(path.name) for path in paths):
        context.load_verify_locations(capath=folder)
        return
    for path in paths:
        if path.is_file() and path.stat().st_size <= _FILE_MAX_BYTES:
            with suppress(OSError):  # ssl.SSLError is one
                context.load_verify_locations(cafile=path)


def _load(context: ssl.SSLContext, path: Path, *, why: str) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        no_file = not isinstance(error, ssl.SSLError)
        said = error.strerror if no_file else "there is no certificate in PEM in it"
        raise RegistryUnavailableError(
            f"the certificates in {path} ({why}) cannot be read: {said}", hint="correct or remove it"
        ) from error
