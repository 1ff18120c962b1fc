"""What kind of store one is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anyarch.oci.store import Store
    from anyarch.registry.store import RegistryStore


def as_registry(store: Store) -> RegistryStore | None:
    """The store as a registry's repository; None if it is a layout or anything else.

    Loads nothing: before the client is there, no store can be one of its own.
    """
    module = sys.modules.get("anyarch.registry.store")
    inner: Store = getattr(store, "wrapped", store)  # a journal may stand before it
    return inner if module is not None and isinstance(inner, module.RegistryStore) else None
