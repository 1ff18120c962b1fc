"""Host names that look like a registry of Amazon ECR, and are none: what was probably meant. Pure."""

from __future__ import annotations

import difflib
import re
from typing import Final

from anyarch.registry.ecr_host import DOMAINS, EcrHost

# The parts of 123456789012.dkr.ecr.eu-west-1.amazonaws.com, each as it may be mistyped.
_LIKE: Final = re.compile(
    r"(?P<account>\d{9,15})\.(?P<kind>[a-z]{2,4})(?P<mark>[.-])(?P<service>[a-z]{2,4})(?P<fips>-fips)?"
    r"\.(?P<region>[a-z0-9-]+)\.(?P<domain>[a-z0-9.-]+)",
    re.ASCII,
)
_DIGITS: Final = 12
_ALIKE: Final = 0.6  # of difflib's ratio; two of three letters in place are more


def meant(host: str) -> str:
    """What to write instead, or what is wrong with it; empty for Amazon's registries and all others."""
    match = _LIKE.fullmatch(host)
    if match is None or EcrHost.parse(host) is not None:
        return ""
    if not (_alike(match["kind"], "dkr") and _alike(match["service"], "ecr")):
        return ""
    possible = [each for each in DOMAINS if each.endswith(".cn") is match["region"].startswith("cn-")]
    domain = next(iter(difflib.get_close_matches(match["domain"], possible, n=1, cutoff=_ALIKE)), "")
    if not domain:
        return ""
    if len(match["account"]) != _DIGITS:
        return f"an AWS account has {_DIGITS} digits, and {match['account']} has {len(match['account'])}"
    name = f"{match['account']}.dkr{match['mark']}ecr{match['fips'] or ''}.{match['region']}.{domain}"
    if EcrHost.parse(name) is not None:
        return f"did you mean {name}?"
    return f"{match['region']} is no region of {domain}"


def _alike(one: str, other: str) -> bool:
    return difflib.SequenceMatcher(None, one, other).ratio() >= _ALIKE
