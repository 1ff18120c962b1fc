"""Why AWS denies something, and so where it is to be allowed. Pure.

https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
"""

from __future__ import annotations

from typing import Final

# What the words after "because" hold, and what a new Allow in the role's own policy cannot mend.
_ELSEWHERE: Final = (
    (
        "explicit deny in a service control policy",
        "a service control policy of the organization denies it: only its administrators can change that",
    ),
    (
        "explicit deny in a resource control policy",
        "a resource control policy of the organization denies it: only its administrators can change that",
    ),
    (
        "no service control policy allows",
        "the organization's service control policies must allow it: ask its administrators",
    ),
    ("explicit deny", "a policy denies it expressly, which no other can undo: find that Deny and change it"),
    ("no permissions boundary allows", "the permissions boundary must allow it as well"),
    (
        "no session policy allows",
        "the session policy, given when the role was assumed, must allow it as well",
    ),
    ("no VPC endpoint policy allows", "the VPC endpoint's policy must allow it as well"),
    ("no resource-based policy allows", "the repository's own policy must allow it as well"),
)


def elsewhere(words: str) -> str:
    """Where else it must be allowed, as AWS says it; empty if a role's or user's own policy is enough."""
    for said, advice in _ELSEWHERE:
        if said in words:
            return advice
    return ""
