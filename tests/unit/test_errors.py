"""The error tree: one exit code a class, clean text, no secrets in the making."""

from __future__ import annotations

from anyarch import errors
from anyarch.errors import AnyarchError, MergeRefusedError, NotFoundError, UsageError

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


def test_facts_are_kept_as_fields() -> None:
    assert NotFoundError("gone", status=404).facts == {"status": 404}
