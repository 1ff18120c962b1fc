"""The Python SDK image's pure parts; tests/engine builds and runs the image."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING

import pytest
from anyarch.engine.native import image
from anyarch.errors import EngineStartError

if TYPE_CHECKING:
    from pathlib import Path

LOCK = """\
anyio==4.16.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
anyio-extra==1.0 \\
    --hash=sha256:cc
msgspec==0.22.0 ; python_version >= '3.11' \\
    --hash=sha256:dd
"""


def test_a_requirement_is_taken_from_the_lock_with_its_hashes() -> None:
    assert image.pinned(LOCK, ["msgspec", "anyio"]).splitlines() == [
        "msgspec==0.22.0 ; python_version >= '3.11' \\",
        "    --hash=sha256:dd",
        "anyio==4.16.0 \\",
        "    --hash=sha256:aa \\",
        "    --hash=sha256:bb",
    ]


def test_the_products_lock_pins_all_that_the_module_needs() -> None:
    lock = (resources.files("anyarch.engine.native") / "sdk" / "requirements.lock").read_text()
    for entry in re.split(r"(?m)^(?=\S)", image.pinned(lock, image.REQUIREMENTS))[1:]:
        assert re.match(r"[a-z0-9-]+==\S+", entry)
        assert "--hash=sha256:" in entry


def test_a_requirement_that_is_not_locked_is_an_error_not_a_surprise() -> None:
    with pytest.raises(EngineStartError, match="nothing-of-ours"):
        image.pinned(LOCK, ["nothing-of-ours"])


@pytest.mark.parametrize(
    ("listed", "sources"),
    [
        pytest.param(
            "deb [signed-by=$(SIGNED_BY)] https://deb.example.com/debian/ bookworm main|amd64\n"
            "deb [signed-by=$(SIGNED_BY)] https://deb.example.com/debian/ bookworm contrib|amd64\n"
            "deb [signed-by=$(SIGNED_BY)] https://deb.example.com/sec/ bookworm-security main|amd64\n"
            "deb [signed-by=$(SIGNED_BY)] https://other.example.com/ nodistro main|amd64\n",
            "deb https://deb.example.com/debian/ bookworm main\n"
            "deb https://deb.example.com/sec/ bookworm-security main\n",
            id="the distribution's own, main only",
        ),
        pytest.param(
            "deb [signed-by=/usr/share/keyrings/a.gpg] https://deb.example.com/debian/ bookworm main|amd64\n"
            "deb [signed-by=/usr/share/keyrings/a.gpg] https://deb.example.com/debian/ bookworm main|i386\n",
            "deb [signed-by=/usr/share/keyrings/a.gpg] https://deb.example.com/debian/ bookworm main\n",
            id="with its key, once for all architectures",
        ),
        pytest.param("", "", id="none: mmdebstrap knows the distribution's default"),
    ],
)
def test_the_hosts_package_sources_are_used(listed: str, sources: str) -> None:
    assert image.parse_sources(listed, codename="bookworm") == sources


def test_leftovers_of_a_killed_build_go_and_finished_images_stay(tmp_path: Path) -> None:
    for name in ("sdk-a", "sdk-a.17.tmp", "sdk-b.18.tmp"):
        (tmp_path / name / "blobs").mkdir(parents=True)
    image.remove_leftovers(tmp_path / "sdk-a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sdk-a", "sdk-b.18.tmp"]
