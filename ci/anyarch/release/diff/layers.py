"""Layers read from a store: downloaded in this task, unpacked in a thread, kept as a list of entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread

from anyarch.errors import AnyarchError
from anyarch.release.diff.byte_source import ByteSource
from anyarch.release.diff.decompress import decompress
from anyarch.release.diff.tar_stream import read_entries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from anyarch.oci.descriptor import Descriptor
    from anyarch.oci.digest import Digest
    from anyarch.oci.store import Store
    from anyarch.release.diff.entry import Entry
    from anyarch.release.diff.limits import Budget

# Going to the thread and back costs as much as unpacking some 30 KiB.
_PARCEL_BYTES: Final = 512 * 1024
_PARCELS_WAITING: Final = 4

Entries = list[tuple[str, "Entry"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of an image: the blob, and the digest of what it unpacks to."""

    blob: Descriptor
    diff_id: Digest
    subject: str


async def read_layer(store: Store, layer: Layer, *, budget: Budget) -> Entries:
    """Every entry of a layer, in order; its blob digest and its diff_id hold.

    Args:
        store: Where the layer is.
        layer: Which one.
        budget: What its entries and bytes are counted against.

    Raises:
        ContentError: the layer is no valid archive, over a limit, or not what its digests say.
        RegistryError: the store could not deliver it.
    """
    send, receive = anyio.create_memory_object_stream[bytes](_PARCELS_WAITING)
    failures: list[AnyarchError] = []
    entries: Entries = []
    async with receive, anyio.create_task_group() as tasks:
        tasks.start_soon(_pump, store.stream_blob(layer.blob), send, failures)
        try:
            entries = await anyio.to_thread.run_sync(_unpack, receive, layer, budget)
        except AnyarchError as error:
            # A download that failed looks like a short archive from here: its own error comes first.
            failures.append(error)
        tasks.cancel_scope.cancel()
    await anyio.lowlevel.checkpoint()  # being cancelled looks like a short archive as well
    if failures:
        raise failures[0]
    return entries


async def _pump(
    chunks: AsyncIterator[bytes], send: MemoryObjectSendStream[bytes], failures: list[AnyarchError]
) -> None:
    """Hand the chunks over in larger parcels; a failure of the store is kept for the reader."""
    parcel = bytearray()
    async with send:
        try:
            async for chunk in chunks:
                parcel += chunk
                if len(parcel) >= _PARCEL_BYTES:
                    await send.send(bytes(parcel))
                    parcel.clear()
        except AnyarchError as error:
            failures.append(error)
        else:
            await send.send(bytes(parcel))


def _unpack(receive: MemoryObjectReceiveStream[bytes], layer: Layer, budget: Budget) -> Entries:
    pieces = decompress(_parcels(receive), subject=layer.subject)
    source = ByteSource(pieces, diff_id=layer.diff_id, budget=budget, subject=layer.subject)
    return list(read_entries(source, budget=budget, subject=layer.subject))


def _parcels(receive: MemoryObjectReceiveStream[bytes]) -> Iterator[bytes]:
    while True:
        try:
            yield anyio.from_thread.run(receive.receive)
        except anyio.EndOfStream:
            return
