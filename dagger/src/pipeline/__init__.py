"""Builds one image per platform, publishes it by digest, and merges the platforms into one verified tag.

`build` makes one platform's image on this engine; `merge` joins what several engines published, held
against the plan and read back from the registry; `release` does both on one engine; `verify` checks a
published tag. Image contents come from an ordinary Dockerfile. No build ever writes a tag.
"""

from pipeline.main import Anyarch as Anyarch
