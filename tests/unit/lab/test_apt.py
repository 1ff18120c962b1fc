"""Which of a machine's package sources end up in the base image that all builds of the demo start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab import apt

if TYPE_CHECKING:
    from pathlib import Path


def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, said: str) -> None:
    """Put a program that says this in front of the system's."""
    (tmp_path / program).write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
    (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        pytest.param(
            "http://mirror.example.com/debian/ {codename} main",
            ["deb http://mirror.example.com/debian/ bookworm main"],
            id="this machine's own mirror",
        ),
        pytest.param(
            "http://mirror.example.com/debian-security/ {codename}-security main\n"
            "http://packages.example.com/debian/ stable main\n"
            "http://mirror.example.com/debian/ {codename} contrib\n"
            "http://mirror.example.com/debian/ {codename} main",
            ["deb http://mirror.example.com/debian/ bookworm main"],
            id="only the suite itself",
        ),
        pytest.param("https://mirror.example.com/debian/ {codename} main", [], id="needs certificates"),
        pytest.param(
            "http://me:secret@mirror.example.com/debian/ {codename} main", [], id="needs a password"
        ),
        pytest.param("http://mirror.example.com/ubuntu/ {codename} main", [], id="no Debian"),
        pytest.param("file:/mnt/debian/ {codename} main", [], id="a disk that no container sees"),
        pytest.param("", [], id="nothing"),
    ],
)
def test_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str, expected: list[str]) -> None:
    answer(tmp_path, monkeypatch, "apt-get", listed.format(codename=apt.codename()))
    assert apt.sources() == expected


def test_settings_keep_what_reaching_the_archive_needs_and_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = (
        "Acquire::http::Proxy=http://me:secret@proxy.example.com:3128\n"
        "Acquire::Check-Valid-Until=false\n"
        "Acquire::Languages::=none\n"
        "Acquire::Retries=4"
    )
    answer(tmp_path, monkeypatch, "apt-config", said)
    assert apt.settings() == ['Acquire::Check-Valid-Until "false"', 'Acquire::Retries "4"']
    answer(tmp_path, monkeypatch, "apt-config", "Acquire::http::Proxy=http://proxy.example.com:3128")
    assert apt.settings() == ['Acquire::http::Proxy "http://proxy.example.com:3128"']
