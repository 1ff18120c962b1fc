"""anyarch: one image for many platforms, each built natively, published as one verified tag.

Rooms, and the only direction in which they may import one another::

    oci  ←  release  ←  report  ←  {registry, engine, github}  ←  {cli, the Dagger module}

``registry`` needs only ``oci``. ``oci``, ``release`` and ``report`` are pure: they open no file,
socket or process. ``tests/test_architecture.py`` proves it.
"""
