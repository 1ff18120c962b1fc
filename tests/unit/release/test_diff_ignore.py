"""Patterns of --ignore: paths as .gitignore words them, and settings."""

from __future__ import annotations

import pytest
from anyarch.errors import UsageError
from anyarch.release.diff.ignore import Ignore


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        pytest.param("/var/log", "/var/log", True, id="a path"),
        pytest.param("/var/log/", "/var/log", True, id="a slash at the end"),
        pytest.param("var/log", "/var/log", True, id="no slash at the start"),
        pytest.param("var/log", "/x/var/log", False, id="a path is from the root"),
        pytest.param("/var/log", "/var/log2", False, id="no prefix"),
        pytest.param("*.pyc", "/a/b/c.pyc", True, id="a name in any directory"),
        pytest.param("*.pyc", "/c.pyc", True, id="a name in the root"),
        pytest.param("*.pyc", "/c.pyc/d", False, id="a star stops at a slash"),
        pytest.param("c.py?", "/a/c.pyc", True, id="one character"),
        pytest.param("c.py?", "/a/c.py", False, id="one character is not none"),
        pytest.param("/usr/*/x", "/usr/lib/x", True, id="a star inside a path"),
        pytest.param("/usr/*/x", "/usr/lib/y/x", False, id="a star is one component"),
        pytest.param("/usr/**/x", "/usr/lib/y/x", True, id="two stars are many components"),
        pytest.param("/usr/**/x", "/usr/x", True, id="or none"),
        pytest.param("/usr/**", "/usr/lib/y/x", True, id="everything below"),
        pytest.param("**/x", "/x", True, id="two stars first"),
        pytest.param("/a[0-9]", "/a7", True, id="a class"),
        pytest.param("/a[!0-9]", "/a7", False, id="a negated class"),
        pytest.param("/a[", "/a[", True, id="a bracket that opens nothing"),
        pytest.param("/a[^]", "/a^", True, id="a caret is itself"),
        pytest.param("/a.c", "/abc", False, id="a dot is itself"),
        pytest.param("/a+(b)|c", "/a+(b)|c", True, id="no other character is special"),
        pytest.param("x*", "/x\ny", True, id="a name with a new line"),
        pytest.param("config.labels.*", "/config.labels.x", False, id="a setting is no path"),
    ],
)
def test_a_pattern_matches_paths(pattern: str, path: str, matches: bool) -> None:
    assert Ignore.parse((pattern,)).path(path) is matches


def test_patterns_of_settings_match_settings() -> None:
    ignore = Ignore.parse(("config.labels.org.opencontainers.*", "config.user"))
    assert ignore.setting("config.labels.org.opencontainers.image.created")
    assert ignore.setting("config.user")
    assert not ignore.setting("config.labels.org-opencontainers.x")
    assert not ignore.setting("config.env.USER")


def test_no_pattern_matches_nothing() -> None:
    assert not Ignore.parse(()).path("/")
    assert not Ignore().setting("config.user")


@pytest.mark.parametrize("pattern", ["", "/", "//", "a[z-a]"])
def test_a_pattern_that_means_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="--ignore"):
        Ignore.parse((pattern,))
