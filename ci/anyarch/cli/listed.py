"""What a registry's owner lists of a repository, where it has an interface for that: Amazon ECR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyarch.cli import output, words
from anyarch.errors import AuthenticationError, DeniedError
from anyarch.registry.ecr_host import NO_CREDENTIALS, EcrHost

if TYPE_CHECKING:
    from anyarch.cli.access import Access
    from anyarch.oci.inventory import Inventoried, Inventory


@dataclass(frozen=True)
class _Taken:
    """An inventory that was taken already."""

    found: Inventory

    async def inventory(self) -> Inventory:
        """The same every time: what comes later is younger than anything that is pruned."""
        return self.found


async def listed(repository: str, access: Access, *, pulls: bool) -> Inventoried | None:
    """All that a repository of Amazon ECR holds, with a tag or without; None where nobody tells us.

    Without the permission to ask, candidates come from elsewhere, as in every other registry; that is told.

    Args:
        repository: The repository.
        access: The way to it.
        pulls: Whether a pull makes an image younger.

    Raises:
        AnyarchError: AWS refuses for another reason, or does not answer.
    """
    host, _, path = repository.partition("/")
    where = EcrHost.parse(host)
    if where is None:
        return None
    if access.credential is not None:
        _unlisted(f"{words.USERNAME_VARIABLE} is set, and only AWS credentials open Amazon's list")
        return None
    from anyarch.registry.ecr_inventory import EcrInventory  # noqa: PLC0415  no other registry has one

    inventory = EcrInventory(where, path, aws_profile=access.of(repository).aws_profile, pulls=pulls)
    try:
        return _Taken(await inventory.inventory())
    except DeniedError as error:
        _unlisted(f"{error.what} ({error.hint})")
    except AuthenticationError as error:
        if error.facts.get("reason") != NO_CREDENTIALS:
            raise
        _unlisted(error.what)
    return None


def _unlisted(why: str) -> None:
    output.note(f"images without a tag are not looked for: {why}")
