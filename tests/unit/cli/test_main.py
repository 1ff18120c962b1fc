from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from anyarch.cli import main, rollback
from anyarch.cli.main import run
from anyarch.errors import AnyarchError, LostRaceError, MergeRefusedError

COMMANDS = ["plan", "run", "merge", "verify", "rollback"]
DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert f"Example: anyarch {command} " in shown
    assert "[default: ]" not in shown


def test_help_lists_every_command_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for command in [*COMMANDS, "engine"]:
        (line,) = [line for line in lines if line.startswith(f"│ {command} ")]
        assert len(line.strip("│ ").split()) > 3


def test_listing_the_commands_loads_none_of_them() -> None:
    program = "import sys; from anyarch.cli.main import run; run(['--help']); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not {f"anyarch.cli.{command}" for command in COMMANDS} & loaded


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["merg"], "merg", id="no such command"),
        pytest.param(["merge"], "--records", id="a flag that is needed"),
        pytest.param(["merge", "--record", "x"], "--record", id="no such flag"),
        pytest.param(["plan", "--format", "xml"], "xml", id="no such choice"),
        pytest.param(["plan", "a", "b"], "b", id="one word too many"),
        pytest.param(["plan", "--platform", "linux/arm46"], "did you mean arm64", id="a wrong platform"),
        pytest.param(["run", "--engine", "linux/arm64"], "PLATFORM=URL", id="half an engine"),
        pytest.param(["run", "--timeout", "soon"], "soon", id="no time"),
        pytest.param(["promote", "x:1"], "error: --tag is missing\n", id="no flag that is needed"),
        pytest.param(["promote", "x:1", "--tag"], "error: --tag has no value\n", id="a flag without a value"),
        pytest.param(["promote", "x:1", "--tga", "a"], "--tag instead of --tga?", id="a flag misspelt"),
        pytest.param(["prune", "x.example.com/a"], "error: --older-than is missing\n", id="no age"),
        pytest.param(["diff", "x:1"], "error: B is missing\n", id="a word too few"),
        pytest.param(["verify", "oci:dist"], "names no tag", id="half a reference"),
        pytest.param(
            ["rollback", f"r.example.com/a@{DIGEST}", "--to", DIGEST], "only a tag", id="moving a digest"
        ),
    ],
)
def test_words_that_cannot_be_understood_end_with_2_in_our_words(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert said in told.err
    assert "Traceback" not in told.err


def failing(monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> list[str]:
    """Have a command raise ``failure``; the words that call it."""

    def fail(_: object) -> None:
        raise failure

    monkeypatch.setattr(rollback, "parse_target", fail)
    return ["rollback", "x:y", "--to", DIGEST]


def test_an_error_of_ours_ends_with_its_own_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = MergeRefusedError("refused", offenders=["one", "two"], hint="do this")
    assert run(failing(monkeypatch, error)) == 32
    assert capsys.readouterr().err == "error: refused\n  - one\n  - two\n  → do this\n"


@pytest.mark.parametrize("words", [["--format", "json"], ["--format=json"]], ids=["two words", "one word"])
def test_with_json_the_error_is_a_document_too(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["merge", "--records", str(tmp_path / "none"), "--to", "oci:x", *words]) == 5
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert document["error"] == "FileProblemError"
    assert document["exit_code"] == 5
    assert document["facts"] == {"path": str(tmp_path / "none")}
    assert document.keys() == {"error", "message", "hint", "offenders", "facts", "exit_code"}
    assert told.err.startswith("error: ")


def test_a_group_of_failures_is_told_as_the_one_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    group = BaseExceptionGroup("", [ValueError("x"), ExceptionGroup("", [LostRaceError("moved")])])
    assert run(failing(monkeypatch, group)) == 34
    assert capsys.readouterr().err == "error: moved\n"


def test_ctrl_c_ends_with_130_and_says_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(failing(monkeypatch, KeyboardInterrupt("kept: linux/amd64"))) == 130
    assert capsys.readouterr().err == "kept: linux/amd64\n"
    assert run(failing(monkeypatch, KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_bug_is_one_line_and_a_traceback_only_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = failing(monkeypatch, ZeroDivisionError("never\nthought of"))
    assert run(words) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ZeroDivisionError: never thought of\n")
    assert "this is a bug" in told
    assert "Traceback" not in told
    monkeypatch.setenv(main.TRACEBACK_VARIABLE, "1")
    assert run(words) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_bug(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    command = (
        f"{sys.executable} -m anyarch plan {tmp_path} --engine linux/amd64=tcp://x:1 --platform linux/amd64"
    )
    program = f"{command} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("length", [10, 10**5], ids=["all at the end", "more than a buffer"])
def test_a_full_disk_behind_standard_output_is_no_bug(length: int) -> None:
    program = (
        "from anyarch.cli import main; import sys\n"
        f"main._app = lambda _: lambda _: print('x' * {length})\n"
        "sys.exit(main.run(['plan']))"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 5
    assert done.stderr.startswith("error: no room for what this command prints")
    assert "bug" not in done.stderr


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == version("anyarch")


def test_every_failure_of_ours_keeps_control_characters_from_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(failing(monkeypatch, AnyarchError("evil \x1b[2J")))
    assert "\x1b" not in capsys.readouterr().err
