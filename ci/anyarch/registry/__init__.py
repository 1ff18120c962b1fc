"""Where images live: the distribution protocol's client and the OCI layout, both an ``oci.store.Store``."""
