"""docs/troubleshooting.md quotes messages that anyarch really has, with the exit codes they really have."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest
from anyarch import errors
from anyarch.errors import AnyarchError

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
ROWS = [
    (message, int(code))
    for message, code in re.findall(r"^\| `([^`]+)` \| (\d+) \| \S.* \|$", PAGE, flags=re.MULTILINE)
]
LETTERS_MIN = 8  # a message of less could be anything
SAID_BY_THE_RESULT = {36, 40}
# Errors with no row that quotes a message of theirs, and why.
NO_ROW = {
    "AnyarchError": "never raised itself; its code is a bug of ours, told in words",
    "OffendersError": "never raised itself",
    "EngineError": "never raised itself",
    "RegistryError": "never raised itself",
    "ImagesDifferError": "the comparison says it all",
    "ChecksFailedError": "the doctor's lines say it all",
}
# Words of registries, engines and AWS, and what a source or test of ours has of them: they are real.
WORDS_OF_OTHERS = {
    "NAME_UNKNOWN": "",
    "MANIFEST_UNKNOWN": "",
    "TOOMANYREQUESTS": "",
    "status 429": "status {self.status}",
    "is not authorized to perform: ": "",
    "authorization token has expired": "",
    "the engine could not push to": "the engine could not {doing} ",
    "pull access denied": "",
    "no basic auth credentials": "",
    "exec format error": "",
    'failed to do request: Head "https://registry-1.docker.io': 'failed to do request: Head "https://',
    "no such host": "",
}


@dataclass(frozen=True)
class Message:
    """A text in the source, ``…`` for what is filled in; ``kind`` is the error it is said by, if by one."""

    text: str
    kind: str = ""

    def may_be(self, quoted: str) -> bool:
        if len(re.sub(r"[^a-z]", "", self.text)) < LETTERS_MIN:
            return False
        return re.fullmatch(".+".join(map(re.escape, self.text.split("…"))), quoted) is not None


def codes() -> dict[str, int]:
    kinds: list[type[AnyarchError]] = [AnyarchError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    return {kind.__name__: kind.exit_code for kind in kinds}


CODES = codes()


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return ""


def messages() -> list[Message]:
    found: dict[str, set[str]] = defaultdict(set)
    for path in (ROOT / "ci" / "anyarch").rglob("*.py"):
        tree = ast.parse(path.read_text())
        documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute) and node.args:
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                if name in CODES:
                    found[text_of(node.args[0])].add(name)
            if id(node) not in documented:
                found.setdefault(text_of(node), set())
    return [Message(text, kind) for text, kinds in found.items() for kind in kinds or {""}]


MESSAGES = messages()
OURS = [(quoted, code) for quoted, code in ROWS if quoted not in WORDS_OF_OTHERS]


@pytest.mark.parametrize(("quoted", "code"), OURS, ids=[quoted for quoted, _ in OURS])
def test_a_quoted_message_is_one_of_ours_with_its_exit_code(quoted: str, code: int) -> None:
    exact = [each for each in MESSAGES if each.text == quoted] or [
        each for each in MESSAGES if each.may_be(quoted)
    ]
    assert exact, "no such message in ci/anyarch"
    known = {CODES[each.kind] for each in exact if each.kind}
    assert not known or code in known


@pytest.mark.parametrize("kind", sorted(set(CODES) - NO_ROW.keys()))
def test_every_error_has_a_row_that_quotes_a_message_of_it(kind: str) -> None:
    # Some are made before it is known which error says them.
    own = [each for each in MESSAGES if each.kind in {kind, ""}]
    mine = [quoted for quoted, code in OURS if code == CODES[kind]]
    quoting = [quoted for quoted in mine if any(quoted == e.text or e.may_be(quoted) for e in own)]
    assert quoting, "no message of it is on the page, and NO_ROW does not say why"


def test_an_error_without_a_row_is_one_of_ours() -> None:
    assert NO_ROW.keys() <= CODES.keys()


@pytest.mark.parametrize("words", sorted(WORDS_OF_OTHERS))
def test_what_others_say_most_is_on_the_page_and_in_one_line(words: str) -> None:
    assert words in {quoted for quoted, _ in ROWS}
    assert any(words in line for line in PAGE.splitlines())
    sources = [
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "ci").rglob("*.py"),
        *(ROOT / "dagger").rglob("*.py"),
    ]
    read = (path.read_text() for path in sources if path != Path(__file__))
    assert any((WORDS_OF_OTHERS[words] or words) in text for text in read), "nobody has seen these words"


def test_every_exit_code_has_an_entry() -> None:
    """1 is a bug of ours and 130 an interruption: they are told in words."""
    assert {code for _, code in ROWS} == set(CODES.values()) - {AnyarchError.exit_code} - SAID_BY_THE_RESULT
    for code in (*SAID_BY_THE_RESULT, errors.INTERRUPTED_EXIT_CODE):
        assert re.search(rf"\b{code}\b", PAGE)


def test_every_row_is_read() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(rows) == len(ROWS) > 40
    assert len({message for message, _ in ROWS}) == len(ROWS)
