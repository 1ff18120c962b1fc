"""Which registry of Amazon's a host name means: account, region, partition and kind of endpoint.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html
https://docs.aws.amazon.com/general/latest/gr/ecr.html
https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-requests.html (dual-stack names)

Which endpoint of the API belongs to a name is left to the SDK, whose rules are Amazon's own. For FIPS they
say ``api.ecr-fips.REGION.amazonaws.com``; the table of the second page above has ``ecr-fips`` in its place,
and calls ``ecr`` and ``api.ecr`` the same, the latter recommended. Dual-stack, both have
``ecr-fips.REGION.api.aws``. FIPS is in the United States only: aws-samples/amazon-eks-ami-rhel#9.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Service = Literal["ecr", "ecr-public"]

USERNAME: Final = (
    "AWS"  # of every token; https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html
)
NO_CREDENTIALS: Final = "no AWS credentials"  # the reason, where there are none to ask AWS with

# 123456789012.dkr.ecr.eu-west-1.amazonaws.com, and with "-" after dkr where IPv6 is spoken, too.
_PRIVATE: Final = re.compile(
    r"(?P<account>\d{12})\.dkr(?P<mark>[.-])ecr(?P<fips>-fips)?"
    r"\.(?P<region>[a-z]{2,5}(?:-[a-z]+)+-\d{1,2})\.(?P<suffix>[a-z0-9.-]+)",
    re.ASCII,
)
_SINGLE_STACK: Final = {
    "amazonaws.com": "aws",
    "amazonaws.com.cn": "aws-cn",
    "amazonaws.eu": "aws-eusc",
    "c2s.ic.gov": "aws-iso",
    "sc2s.sgov.gov": "aws-iso-b",
    "cloud.adc-e.uk": "aws-iso-e",
    "csp.hci.ic.gov": "aws-iso-f",
}
_DUAL_STACK: Final = {"on.aws": "aws", "on.amazonwebservices.com.cn": "aws-cn"}
DOMAINS: Final = (*_SINGLE_STACK, *_DUAL_STACK)
_PUBLIC: Final = {"public.ecr.aws": False, "ecr-public.aws.com": True}
# In a Dockerfile: names, values of ARG, and where these are put in.
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]*[a-z0-9]", re.ASCII)
_ARGUMENT: Final = re.compile(r"^\s*ARG\s+(\w+)=[\"']?([^\s\"']+)", re.ASCII | re.MULTILINE | re.IGNORECASE)
_VARIABLE: Final = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?-([^}]*))?\})", re.ASCII)
_PUBLIC_REGION: Final = "us-east-1"  # the only one that hands out tokens for ECR Public


def hosts_in(dockerfile: str, arguments: Mapping[str, str]) -> frozenset[str]:
    """The registries of Amazon's that a Dockerfile names, be it by ``FROM``, ``COPY --from`` or ``ARG``.

    Args:
        dockerfile: Its text.
        arguments: What the build sets.
    """
    values = {**dict(_ARGUMENT.findall(dockerfile)), **arguments}

    def filled(match: re.Match[str]) -> str:
        return values.get(match[1] or match[2]) or match[3] or ""

    text = _VARIABLE.sub(filled, _VARIABLE.sub(filled, dockerfile))  # a value may hold another's name
    return frozenset(name for name in _NAME.findall(text) if EcrHost.parse(name) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EcrHost:
    """A registry of Amazon ECR, private or public.

    Args:
        host: As in a reference.
        service: Which of the two services of that name.
        account: Whose registry it is; empty for ECR Public.
        region: Where its API is asked.
        partition: As in ARNs: ``aws``, ``aws-cn``, ``aws-us-gov`` …
        fips: Whether the name asks for endpoints validated under FIPS 140.
        dual_stack: Whether the name answers on IPv6, too.
    """

    host: str
    service: Service
    account: str
    region: str
    partition: str
    fips: bool = False
    dual_stack: bool = False

    @classmethod
    def parse(cls, host: str) -> EcrHost | None:
        """What a host name means; None for every other registry."""
        if host in _PUBLIC:
            return cls(
                host=host,
                service="ecr-public",
                account="",
                region=_PUBLIC_REGION,
                partition="aws",
                dual_stack=_PUBLIC[host],
            )
        match = _PRIVATE.fullmatch(host)
        if match is None:
            return None
        dual_stack = match["mark"] == "-"
        partition = (_DUAL_STACK if dual_stack else _SINGLE_STACK).get(match["suffix"])
        if partition is None:
            return None
        if partition == "aws" and match["region"].startswith("us-gov-"):
            partition = "aws-us-gov"
        return cls(
            host=host,
            service="ecr",
            account=match["account"],
            region=match["region"],
            partition=partition,
            fips=match["fips"] is not None,
            dual_stack=dual_stack,
        )

    @property
    def is_public(self) -> bool:
        """Whether this is ECR Public, where anybody may read."""
        return self.service == "ecr-public"

    def repository_name(self, path: str) -> str:
        """The name that the API knows; in ECR Public the registry's alias comes before it."""
        return path.partition("/")[2] if self.is_public else path

    def arn(self, path: str) -> str:
        """The repository as IAM policies name it."""
        region, account = (self.region, self.account) if not self.is_public else ("", "*")
        return (
            f"arn:{self.partition}:{self.service}:{region}:{account}:repository/{self.repository_name(path)}"
        )
