"""The main object: what ``dagger call`` offers."""

from typing import Annotated

import dagger
from dagger import Doc, Ignore, dag, function, object_type

from anyarch.oci.platforms import Platform
from pipeline.failures import plainly
from pipeline.image import Image


@object_type
class Anyarch:
    """Multi-platform images, each platform built natively, published as one verified tag."""

    @function
    @plainly
    async def build(
        self,
        source: Annotated[dagger.Directory, Doc("The build context"), Ignore([".anyarch"])],
        platform: Annotated[str, Doc("The platform to build, such as linux/arm64")],
    ) -> Image:
        """Build one platform's image from a Dockerfile."""
        wanted = Platform.parse(platform)
        container = source.docker_build(platform=dagger.Platform(str(wanted)))
        return Image(container=container, platform=str(wanted))
