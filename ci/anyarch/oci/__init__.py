"""The nouns of the OCI image and distribution specifications: parsed once, immutable, pure."""
