"""The command line's frame: which command runs, and how each way of ending is told.

Commands are loaded only when they are called: start-up is most of a short command's time.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from anyarch.errors import (
    INTERRUPTED_EXIT_CODE,
    AnyarchError,
    ChecksFailedError,
    FileProblemError,
    ImagesDifferError,
    OffendersError,
    TrialFailedError,
    UsageError,
)
from anyarch.shown import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cyclopts import App, CycloptsError

TRACEBACK_VARIABLE: Final = "ANYARCH_TRACEBACK"
# Start-up makes hundreds of thousands of objects and no garbage. Python's own 700 would look for some
# after each so many new ones, which is a tenth of a short command.
_NEW_OBJECTS_BETWEEN_COLLECTIONS: Final = 150_000
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BROKEN_PIPE_EXIT_CODE: Final = 141  # 128 + SIGPIPE, as shells report it


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415  only --version needs it

    return version("anyarch")


_PURPOSE: Final = (
    "One image, every architecture, each built on its own native engine, published as one verified tag."
)
_COMMANDS: Final = {
    "plan": ("anyarch.cli.plan:plan", "Show what would be built, where, and why. Builds nothing."),
    "run": ("anyarch.cli.run:run", "Build every platform at once, publish, merge, verify and tag."),
    "merge": ("anyarch.cli.merge:merge", "Join platforms that were built anywhere into one verified tag."),
    "verify": ("anyarch.cli.verify:verify", "Read a published tag back and check every platform in it."),
    "diff": ("anyarch.cli.diff:diff", "Are two images the same? Names every difference in config and files."),
    "promote": ("anyarch.cli.promote:promote", "Point tags at a release that is already there."),
    "rollback": ("anyarch.cli.rollback:rollback", "Point a tag at what it pointed at before."),
    "history": ("anyarch.cli.history:history", "Show what a tag pointed at, newest first."),
    "prune": ("anyarch.cli.prune:prune", "Delete what nothing in a repository needs any more."),
    "login": ("anyarch.cli.login:login", "Let docker and other tools in, too: Amazon ECR and any registry."),
    "doctor": ("anyarch.cli.doctor:app", "Is everything there that publishing needs? What to do, if not."),
    "engine": ("anyarch.cli.engine:app", "Run Dagger engines as ordinary processes, with no Docker."),
}


def _app(arguments: Sequence[str]) -> App:
    """The program with all its commands, none of them loaded.

    The sentence here is for the list of commands; the one that is called tells its own, longer help.
    """
    from cyclopts import App, Parameter  # noqa: PLC0415  after main has set up the collector

    app = App(
        name="anyarch",
        help=_PURPOSE,
        version=_version,
        result_action="return_value",
        print_error=False,
        exit_on_error=False,
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative=(), show_default=_shown_default),
    )
    for name, (where, sentence) in _COMMANDS.items():
        called = arguments[:1] == [name]
        app.command(where, name=name, help=None if called else sentence)
    return app


def _shown_default(value: object) -> str | None:
    """A default worth showing; that an empty list is empty is not. None shows nothing, not even brackets."""
    return str(value) if value and value is not True else None


def main() -> NoReturn:
    """The ``anyarch`` program."""
    gc.set_threshold(_NEW_OBJECTS_BETWEEN_COLLECTIONS, 20, 50)
    status = run(sys.argv[1:])
    # What is left ends with the process: Python would look through all of it once more, for a fifth of
    # a short command's time. Handlers of atexit still run.
    gc.freeze()
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return the exit status; every failure is told here and nowhere else."""
    try:
        status = _app(arguments)(list(arguments))
        sys.stdout.flush()
    except BaseException as failure:  # noqa: BLE001  the frame of the program
        return _end(failure, arguments)
    return status if isinstance(status, int) else 0


def _drop_output() -> None:
    """Forget what is still to be printed: a second error while Python closes stdout helps nobody."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(failure: BaseException, arguments: Sequence[str]) -> int:
    """Tell how a command ended and return its exit status."""
    from cyclopts import CycloptsError  # noqa: PLC0415  as in _app

    cause = _cause(failure)
    if isinstance(cause, CycloptsError):
        cause = _usage(cause, arguments)
    elif isinstance(cause, OSError) and cause.errno in _FULL:
        _drop_output()  # which may be what has no room
        said = f"no room for what this command prints, or for a file of its: {cause.strerror}"
        cause = FileProblemError(said, hint="make room, or print elsewhere; what it did until then is done")
    match cause:
        case ImagesDifferError() | ChecksFailedError():
            return cause.exit_code  # no failure: what was found has been printed as the result
        case AnyarchError():
            # The document of a failed trial has been printed as the result.
            _tell(cause, as_json=_wants_json(arguments) and not isinstance(cause, TrialFailedError))
            return cause.exit_code
        case SystemExit():
            return cause.code if isinstance(cause.code, int) else int(cause.code is not None)
        case KeyboardInterrupt():
            sys.stderr.write(f"{cause.args[0] if cause.args else 'interrupted'}\n")
            return INTERRUPTED_EXIT_CODE
        case BrokenPipeError():
            _drop_output()  # whoever read it has gone
            return _BROKEN_PIPE_EXIT_CODE
        case _:
            return _tell_bug(failure, cause)


def _cause(failure: BaseException) -> BaseException:
    """The failure itself, out of the groups that tasks wrap around it; one of ours before any other."""
    leaves = list(_leaves(failure))
    for kind in (KeyboardInterrupt, AnyarchError):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    return leaves[0]


def _leaves(failure: BaseException) -> Iterator[BaseException]:
    if isinstance(failure, BaseExceptionGroup):
        for inner in failure.exceptions:
            yield from _leaves(inner)
    else:
        yield failure


def _tell(error: AnyarchError, *, as_json: bool) -> None:
    sys.stderr.write(f"error: {error}\n")
    if not as_json:
        return
    from anyarch.cli.output import say_json  # noqa: PLC0415  only --format json needs it

    document = {
        "error": type(error).__name__,
        "message": error.what,
        "hint": error.hint,
        "offenders": list(error.offenders) if isinstance(error, OffendersError) else [],
        "facts": dict(error.facts),
        "exit_code": error.exit_code,
    }
    say_json(document)


def _tell_bug(failure: BaseException, cause: BaseException) -> int:
    from anyarch.cli.words import PASSWORD_VARIABLE, USERNAME_VARIABLE  # noqa: PLC0415  only a bug needs it
    from anyarch.engine.veil import Veil  # noqa: PLC0415  as above

    # Nobody has looked at what this exception holds.
    user, password = (os.environ.get(name, "") for name in (USERNAME_VARIABLE, PASSWORD_VARIABLE))
    veil = Veil.of((), username=user, password=password, environ=os.environ)
    if os.environ.get(TRACEBACK_VARIABLE) == "1":
        import traceback  # noqa: PLC0415  as above

        sys.stderr.write(printable(veil("".join(traceback.format_exception(failure)))))
    said = one_line(veil(" ".join(str(cause).split())))[:300]
    sys.stderr.write(
        f"error: {type(cause).__name__}: {said}\n"
        f"  → this is a bug in anyarch; {TRACEBACK_VARIABLE}=1 shows where, please report it\n"
    )
    return 1


def _usage(error: CycloptsError, arguments: Sequence[str]) -> UsageError:
    """A word that the command line does not take, or lacks: "requires an argument" says the one for both."""
    from cyclopts import MissingArgumentError  # noqa: PLC0415  as in _app

    what = str(error)
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        state = "is missing" if error.keyword is None else "has no value"
        _, meant, suggestion = what.partition(" Did you mean ")
        what = f"{error.keyword or error.argument.name} {state}"
        what += f"; did you mean {suggestion}" if meant else ""
    return UsageError(what, hint=f"see anyarch {_command(arguments)}--help")


def _command(arguments: Sequence[str]) -> str:
    return f"{arguments[0]} " if arguments and arguments[0] in _COMMANDS else ""


def _wants_json(arguments: Sequence[str]) -> bool:
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return any(word == "--format=json" or (word, value) == ("--format", "json") for word, value in pairs)
