"""One platform's image."""

from typing import Annotated

import dagger
from dagger import Doc, field, function, object_type


@object_type
class Image:
    """One platform's image."""

    container: Annotated[dagger.Container, Doc("The built image as a container")] = field()
    platform: Annotated[str, Doc("The platform")] = field()
