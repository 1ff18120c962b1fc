"""The error tree: one exit code a class, clean text, no secrets in the making."""

from __future__ import annotations

import pytest
from anyarch import errors
from anyarch.errors import (
    AnyarchError,
    BuildFailedError,
    MergeRefusedError,
    NotFoundError,
    UsageError,
)
from anyarch.shown import in_lines, one_line

ABSTRACT = {errors.AnyarchError, errors.OffendersError, errors.EngineError, errors.RegistryError}


def every_class(root: type[AnyarchError] = AnyarchError) -> set[type[AnyarchError]]:
    return {root}.union(*(every_class(child) for child in root.__subclasses__()))


def test_each_class_has_an_exit_code_of_its_own() -> None:
    concrete = every_class() - ABSTRACT
    codes = {kind: kind.exit_code for kind in concrete}
    assert len(set(codes.values())) == len(codes), codes
    assert not {0, 1, errors.INTERRUPTED_EXIT_CODE} & set(codes.values())


def test_the_docstring_lists_every_class_with_its_code() -> None:
    tree = errors.__doc__ or ""
    for kind in every_class() - ABSTRACT:
        assert f"{kind.__name__} {kind.exit_code}" in tree


def test_what_and_hint_are_both_shown() -> None:
    assert str(UsageError("it broke", hint="mend it")) == "it broke\n  → mend it"
    assert str(UsageError("it broke")) == "it broke"


def test_every_offender_is_shown() -> None:
    error = MergeRefusedError("refused", offenders=["linux/386: missing", "linux/arm: twice"], hint="redo")
    assert str(error) == "refused\n  - linux/386: missing\n  - linux/arm: twice\n  → redo"


def test_control_characters_of_a_hostile_input_do_not_reach_the_terminal() -> None:
    error = MergeRefusedError("bad\x1b[2J", offenders=["a\x07b"], hint="c\x00")
    assert not {"\x1b", "\x07", "\x00"} & set(str(error))


FORGED = "x\n::error::forged\r\n\u2028\terror: forged"


def test_what_strangers_wrote_stays_in_its_line() -> None:
    error = MergeRefusedError(f"bad {FORGED}", offenders=[FORGED, "next"], hint=FORGED)
    assert [line[:4] for line in str(error).splitlines()] == ["bad ", "  - ", "  - ", "  → "]
    assert r"x\x0a::error::forged\x0d\x0a\x2028\x09error: forged" in str(error)


def test_a_text_of_ours_has_the_lines_that_it_was_given() -> None:
    error = BuildFailedError(in_lines("RUN make failed\n    no rule\x1b[m"), hint=in_lines("a\n    b"))
    assert str(error) == "RUN make failed\n    no rule\\x1b[m\n  → a\n    b"
    assert str(BuildFailedError(error.what, hint=error.hint)) == str(error), "said once more"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("::set-output name=a::b", r":\x3aset-output name=a::b", id="as a whole line"),
        pytest.param("    ::error::b", r"    :\x3aerror::b", id="indented"),
        pytest.param("a ##[error]b", r"a ##\x5berror]b", id="the older form, anywhere"),
        pytest.param("a ::error::b", "a ::error::b", id="no command, as it does not begin the line"),
        pytest.param("[::1]:5000 # é 日本", "[::1]:5000 # é 日本", id="nothing"),
    ],
)
def test_no_line_is_a_command_to_the_ci_service(text: str, shown: str) -> None:
    assert one_line(text) == shown
    assert str(BuildFailedError(in_lines(f"x\n{text}"))) == f"x\n{shown}"


def test_facts_are_kept_as_fields() -> None:
    assert NotFoundError("gone", status=404).facts == {"status": 404}
