from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import FileProblemError
from anyarch.github.outputs import write_outputs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

_HEREDOC = re.compile(
    r"(?P<name>[^=<\n]+)<<(?P<delimiter>[^\n]+)\n(?P<value>.*?)\n(?P=delimiter)\n", re.DOTALL
)


def as_the_runner_reads_it(text: str) -> dict[str, str]:
    """GitHub's file command grammar: ``name<<DELIMITER``, lines, DELIMITER; the last of a name wins."""
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        entry = _HEREDOC.match(text, position)
        assert entry, f"the runner would refuse: {text[position:]!r}"
        found[entry["name"]] = entry["value"]
        position = entry.end()
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_value_comes_back_as_it_was(tmp_path: Path, value: str) -> None:
    file = tmp_path / "output"
    file.write_bytes(b"")
    write_outputs({"before": "1", "it": value, "after": "2"}, environ={"GITHUB_OUTPUT": str(file)})
    written = file.read_bytes().decode()
    assert as_the_runner_reads_it(written) == {"before": "1", "it": value, "after": "2"}


def test_earlier_outputs_of_the_step_stay(tmp_path: Path) -> None:
    file = tmp_path / "output"
    file.write_text("mine=1\n")
    write_outputs({"matrix": "{}"}, environ={"GITHUB_OUTPUT": str(file)})
    assert file.read_text().startswith("mine=1\nmatrix<<")


def test_a_value_cannot_set_another_output(tmp_path: Path) -> None:
    file = tmp_path / "output"
    environ = {"GITHUB_OUTPUT": str(file)}
    write_outputs({"title": "x"}, environ=environ)
    known_delimiter = file.read_text().splitlines()[-1]
    file.unlink()
    write_outputs({"title": f"x\n{known_delimiter}\ndigest=evil"}, environ=environ)
    assert set(as_the_runner_reads_it(file.read_text())) == {"title"}


def test_outside_a_workflow_outputs_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    write_outputs({"matrix": '{"include":[]}', "destination": "r.example.com/a"}, environ={})
    assert capsys.readouterr().out == 'matrix={"include":[]}\ndestination=r.example.com/a\n'


def test_the_process_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    write_outputs({"digest": "sha256:0"})
    assert as_the_runner_reads_it((tmp_path / "output").read_text()) == {"digest": "sha256:0"}


def test_a_file_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileProblemError, match="step outputs cannot be written") as caught:
        write_outputs({"digest": "x"}, environ={"GITHUB_OUTPUT": str(tmp_path / "no" / "output")})
    assert "GITHUB_OUTPUT" in caught.value.hint


@pytest.mark.parametrize("name", ["", "a=b", "a\nb", "1st", "a b", "a<<b"])
def test_a_name_the_runner_would_misread_is_our_bug(tmp_path: Path, name: str) -> None:
    file = tmp_path / "output"
    with pytest.raises(ValueError, match="no name for a step output"):
        write_outputs({name: "x"}, environ={"GITHUB_OUTPUT": str(file)})
    assert not file.exists()
