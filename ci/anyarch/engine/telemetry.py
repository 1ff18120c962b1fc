"""Telemetry of a Dagger client, on its way to where the user wants it, without the secrets in it.

An engine's spans hold the whole address of every request, and so the signed links by which registries such as
Amazon ECR hand out layers: whoever reads the traces could read the layers. Dagger keeps its own secrets out
of them, and nothing else. So a client that we start sends to us, and we send on.
https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_PREFIX: Final = "OTEL_EXPORTER_OTLP_"
_KINDS: Final = ("TRACES", "LOGS", "METRICS")
_PROTOBUF: Final = "http/protobuf"
# What a client needs no more once it speaks to us, on this machine and without TLS.
_SETTINGS: Final = ("ENDPOINT", "PROTOCOL", "COMPRESSION", "CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
_REPLACED: Final = frozenset(
    f"{_PREFIX}{kind}{setting}"
    for kind in ("", *(f"{kind}_" for kind in _KINDS))
    for setting in (*_SETTINGS, "INSECURE")
)
_POLL_SECONDS: Final = 0.05


@contextmanager
def cleaned(environ: Mapping[str, str], clean: Callable[[str], str]) -> Iterator[Mapping[str, str]]:
    """The environment for a client whose telemetry goes through ``clean``; the same one if there is none.

    What is not sent by HTTP, as ``http/protobuf``, cannot be cleaned here and is not sent at all.

    Args:
        environ: Where the telemetry is to go, as OpenTelemetry's variables tell.
        clean: Takes the secrets out of a text.
    """
    targets = _targets(environ)
    kept = {name: value for name, value in environ.items() if name not in _REPLACED}
    if not targets:
        yield kept
        return
    from anyarch.engine.telemetry_relay import Relay  # noqa: PLC0415  few send telemetry anywhere

    relay = Relay(targets, clean, authority=environ.get(f"{_PREFIX}CERTIFICATE", ""))
    threading.Thread(target=relay.serve_forever, args=(_POLL_SECONDS,), daemon=True).start()
    for kind in targets:
        kept[f"{_PREFIX}{kind}_ENDPOINT"] = f"http://127.0.0.1:{relay.server_port}/{kind}"
        kept[f"{_PREFIX}{kind}_PROTOCOL"] = _PROTOBUF
    try:
        yield kept
    finally:
        relay.shutdown()
        relay.server_close()


def _targets(environ: Mapping[str, str]) -> dict[str, str]:
    """The address for each kind of telemetry that is wanted and that we can send on."""
    found = {}
    for kind in _KINDS:
        address = environ.get(f"{_PREFIX}{kind}_ENDPOINT", "")
        if not address and kind == "TRACES" and environ.get(f"{_PREFIX}ENDPOINT"):
            address = f"{environ[f'{_PREFIX}ENDPOINT'].rstrip('/')}/v1/traces"  # Dagger sends no others there
        general = environ.get(f"{_PREFIX}PROTOCOL") or _PROTOBUF
        protocol = environ.get(f"{_PREFIX}{kind}_PROTOCOL") or general
        if address.startswith(("http://", "https://")) and protocol == _PROTOBUF:
            found[kind] = address
    return found
