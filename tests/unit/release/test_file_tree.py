"""Layers applied one upon the other: whiteouts, replaced paths, links, hostile names."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from anyarch.errors import ContentError
from anyarch.release.diff.entry import IMPLIED_DIRECTORY, Entry, Kind
from anyarch.release.diff.file_tree import FileTree, split_path
from anyarch.release.diff.limits import Limits
from hypothesis import given
from hypothesis import strategies as st

from tests.layers import a_file, folder, hard_link, member, paths_of, symlink, tree_of

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Sequence

    Members = Sequence[tuple[tarfile.TarInfo, bytes]]


# --- what a layer does to those below it


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        pytest.param(
            [[member("a"), member("b")], [member(".wh.a")]],
            ["/b"],
            id="a whiteout hides a file",
        ),
        pytest.param(
            [[member("d/a"), member("d/e/b"), member("dd")], [member(".wh.d")]],
            ["/dd"],
            id="a whiteout hides a directory with all in it",
        ),
        pytest.param(
            [[member("d/a")], [member("d/.wh.nothing"), member("x/y/.wh.z")]],
            ["/d", "/d/a"],
            id="a whiteout of nothing changes nothing",
        ),
        pytest.param(
            [[member("a")], [member("a", b"new"), member(".wh.a")]],
            ["/a"],
            id="a whiteout behind a file of its own layer leaves it",
        ),
        pytest.param(
            [[member("d/old")], [member(".wh.d"), member("d/new")]],
            ["/d", "/d/new"],
            id="a directory hidden and made again starts empty",
        ),
        pytest.param(
            [[member("d/old")], [member("d/new"), member(".wh.d")]],
            ["/d", "/d/new"],
            id="in any order",
        ),
        pytest.param(
            [[member("d/a"), member("d/e/b")], [member("d/.wh..wh..opq"), member("d/c")]],
            ["/d", "/d/c"],
            id="an opaque directory hides what lower layers put into it",
        ),
        pytest.param(
            [[member("d/a")], [member("d/c"), member("d/e/f"), member("d/.wh..wh..opq")]],
            ["/d", "/d/c", "/d/e", "/d/e/f"],
            id="an opaque mark at the end leaves the layer's own files",
        ),
        pytest.param(
            [[member("a"), member("d/b")], [member(".wh..wh..opq")], [member("c")]],
            ["/c"],
            id="an opaque root",
        ),
        pytest.param(
            [[member("a")], [member(".wh.a")], [member("a", b"again")]],
            ["/a"],
            id="hidden, then added again",
        ),
        pytest.param(
            [[member(".wh..wh.plnk/1.2"), member(".wh..wh.aufs"), member("a")]],
            ["/a"],
            id="what aufs kept for itself",
        ),
        pytest.param(
            [[folder(".wh.d"), member("d.wh.x"), member(".whx")]],
            ["/.whx", "/d.wh.x"],
            id="names that only look like whiteouts stay",
        ),
        pytest.param(
            [[member("d/a")], [member("d")]],
            ["/d"],
            id="a file in place of a directory",
        ),
        pytest.param(
            [[member("d")], [member("d/a")]],
            ["/d", "/d/a"],
            id="a directory in place of a file",
        ),
        pytest.param(
            [[member("d/a")], [member("d")], [folder("d")]],
            ["/d"],
            id="directory, file, directory: what was in the first is gone",
        ),
        pytest.param(
            [[member("usr/lib/a"), symlink("lib", "usr/lib")], [member("lib/b")]],
            ["/lib", "/lib/b", "/usr", "/usr/lib", "/usr/lib/a"],
            id="a lower layer's link gives way to a directory, as on overlayfs",
        ),
        pytest.param(
            [[symlink("lib", "usr/lib"), member("lib/a"), symlink("l2", "/usr/../lib/"), member("l2/b")]],
            ["/l2", "/lib", "/usr", "/usr/lib", "/usr/lib/a", "/usr/lib/b"],
            id="a link of the same layer is followed",
        ),
        pytest.param(
            [[symlink("out", "../../../etc"), member("out/passwd")]],
            ["/etc", "/etc/passwd", "/out"],
            id="a link that climbs stays inside the root",
        ),
        pytest.param(
            [[member("./a"), member("/b"), member("c//d/"), member("e/./f"), folder("g/../h"), folder("./")]],
            ["/a", "/b", "/c", "/c/d", "/e", "/e/f", "/h"],
            id="one path written in many ways",
        ),
    ],
)
def test_layers_make_a_tree(layers: list[Members], expected: list[str]) -> None:
    assert paths_of(*layers) == expected


def test_the_upper_layers_file_counts() -> None:
    tree = tree_of([member("a", b"old", mode=0o600)], [member("a", b"new", mode=0o755)])
    assert tree == {"/a": a_file(b"new", mode=0o755)}


def test_a_directory_written_again_keeps_what_is_in_it_and_takes_the_new_mode() -> None:
    tree = tree_of([folder("d"), member("d/a")], [folder("d", mode=0o700)])
    assert tree["/d"].mode == 0o700
    assert "/d/a" in tree


def test_a_directory_that_no_layer_describes_is_as_runtimes_make_it() -> None:
    assert tree_of([member("d/a")])["/d"] == IMPLIED_DIRECTORY


def test_a_file_in_a_lower_layers_directory_leaves_its_mode_alone() -> None:
    assert tree_of([folder("t", mode=0o1777)], [member("t/a")])["/t"].mode == 0o1777


def test_of_two_entries_for_one_path_the_later_counts() -> None:
    assert tree_of([member("a", b"1"), member("./a", b"2")]) == {"/a": a_file(b"2")}


def test_the_roots_own_entry_is_kept() -> None:
    tree = FileTree()
    tree.apply([("./", Entry(kind=Kind.DIRECTORY, mode=0o700, mtime_ns=5))], subject="layer")
    assert list(tree.walk()) == [("/", Entry(kind=Kind.DIRECTORY, mode=0o700, mtime_ns=5))]


# --- hard links


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param([member("a", b"x"), hard_link("b", "a")], id="target first"),
        pytest.param([hard_link("b", "a"), member("a", b"x")], id="link first"),
        pytest.param(
            [hard_link("b", "./c"), hard_link("c", "/a"), member("a", b"x")], id="a chain, backwards"
        ),
        pytest.param([member("a"), hard_link("b", "a"), member("b", b"x")], id="overwritten by a file"),
        pytest.param(
            [hard_link("b", "nowhere"), member("b", b"x")], id="a broken one, overwritten by a file"
        ),
    ],
)
def test_a_hard_link_is_the_file_that_it_points_at(layer: Members) -> None:
    assert tree_of(layer)["/b"] == a_file(b"x")


def test_a_hard_link_to_a_lower_layers_file_has_its_content() -> None:
    assert tree_of([member("d/a", b"x")], [hard_link("b", "d/a")])["/b"] == a_file(b"x")


def test_a_hard_links_header_sets_mode_and_owner_for_every_name() -> None:
    tree = tree_of([hard_link("b", "a", mode=0o4755, owner=(5, 6)), member("a", b"x")])
    assert tree == dict.fromkeys(("/a", "/b"), a_file(b"x", mode=0o4755, uid=5, gid=6))


def test_a_name_replaced_later_leaves_its_hard_links_alone() -> None:
    tree = tree_of([member("a", b"old"), hard_link("b", "a")], [member("a", b"new", mode=0o600)])
    assert tree == {"/a": a_file(b"new", mode=0o600), "/b": a_file(b"old")}


def test_a_hard_link_finds_its_target_through_a_lower_layers_link() -> None:
    tree = tree_of([member("usr/bin/a", b"x"), symlink("bin", "usr/bin")], [hard_link("b", "bin/a")])
    assert tree["/b"] == a_file(b"x")


def test_a_symbolic_link_may_have_a_second_name() -> None:
    tree = tree_of([symlink("s", "to"), hard_link("t", "s", mode=0o777)])
    assert tree["/t"] == tree["/s"]
    assert tree["/t"].target == "to"


# --- what no runtime unpacks


@pytest.mark.parametrize(
    ("layers", "word"),
    [
        pytest.param([[member("../a")]], "leaves the root", id="a path above the root"),
        pytest.param([[member("a/../../b")]], "leaves the root", id="a path that climbs out"),
        pytest.param([[member("/../a")]], "leaves the root", id="an absolute path that climbs out"),
        pytest.param([[member("a/" * 2500)]], "too long", id="a path of 5000 bytes"),
        pytest.param([[member("n" * 256)]], "too long", id="a name of 256 bytes"),
        pytest.param([[member("ü" * 128)]], "too long", id="a name of 256 bytes in 128 characters"),
        pytest.param([[member(".wh.")]], "names nothing", id="a whiteout without a name"),
        pytest.param([[member("d/.wh..")]], "names nothing", id="a whiteout of its directory"),
        pytest.param([[member("d/.wh...")]], "names nothing", id="a whiteout of the directory above"),
        pytest.param([[member("a"), member("a/b")]], "below something", id="a file below a file"),
        pytest.param([[member("./", b"x")]], "root of the file tree", id="a root that is a file"),
        pytest.param([[hard_link("b", "a")]], "not there", id="a hard link to nothing"),
        pytest.param([[hard_link("b", "b")]], "loop of hard", id="a hard link to itself"),
        pytest.param(
            [[hard_link("a", "b"), hard_link("b", "a")]], "loop of hard", id="two hard links in a ring"
        ),
        pytest.param([[folder("d"), hard_link("b", "d")]], "to a directory", id="a hard link to a directory"),
        pytest.param([[hard_link("b", "../a")]], "leaves the root", id="a hard link out of the root"),
        pytest.param(
            [[member("a")], [member(".wh.a"), hard_link("b", "a")]],
            "not there",
            id="a hard link to a hidden file",
        ),
        pytest.param(
            [[symlink("a", "b"), symlink("b", "a"), member("a/x")]], "loop of symbolic", id="links in a ring"
        ),
    ],
)
def test_a_hostile_layer_is_refused_by_name(layers: list[Members], word: str) -> None:
    with pytest.raises(ContentError, match=f"^layer {len(layers)}: .*{word}"):
        tree_of(*layers)


def test_control_characters_of_a_name_reach_no_terminal() -> None:
    with pytest.raises(ContentError) as caught:
        tree_of([member("../\x1b[31m\nred")])
    assert "\\x1b[31m\\x0ared" in caught.value.what


def test_directories_that_deep_paths_imply_are_counted() -> None:
    tree = FileTree(limits=Limits(entries=50))
    with pytest.raises(ContentError, match="more than 50 paths"):
        tree.apply([("d/" * 60 + "f", a_file())], subject="layer 1")


def test_a_long_chain_of_hard_links_takes_linear_time() -> None:
    names = [f"{number:05}" for number in range(10_000)]
    chain = [(name, Entry(kind=Kind.HARD_LINK, mode=0o644, target=to)) for name, to in pairwise(names)]
    tree = FileTree()
    tree.apply([*chain, (names[-1], a_file(b"x"))], subject="layer 1")
    assert {entry for path, entry in tree.walk() if path != "/"} == {a_file(b"x")}


@given(st.lists(st.sampled_from(["a", "b", ".", "..", ""]), max_size=8))
def test_a_path_is_cleaned_or_refused(words: list[str]) -> None:
    depth = 0
    expected: list[str] = []
    for word in words:
        if word == "..":
            depth = min(depth, len(expected) - 1)
            expected = expected[:-1]
        elif word not in {"", "."}:
            expected.append(word)
    if depth < 0:
        with pytest.raises(ContentError):
            split_path("/".join(words), subject="x")
    else:
        assert split_path("/".join(words), subject="x") == tuple(expected)


# --- random layers against a simple model

Path = tuple[str, ...]
Model = dict[Path, Entry]

_NAMES = st.sampled_from(["a", "b", "c"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map(tuple)
_DIRECTORIES = st.builds(lambda mode: Entry(kind=Kind.DIRECTORY, mode=mode), st.sampled_from([0o700, 0o755]))
_FILES = st.builds(a_file, st.binary(max_size=1))
_DEVICES = st.just(Entry(kind=Kind.FIFO, mode=0o644))
_CONTENTS = st.dictionaries(_PATHS, st.one_of(_DIRECTORIES, _FILES, _DEVICES), max_size=5)


def below(path: Path, other: Path) -> bool:
    return other[: len(path)] == path and other != path


def consistent(layer: Model) -> Model:
    """Without what lies below a file of the same layer."""
    return {
        path: entry
        for path, entry in layer.items()
        if not any(below(other, path) and layer[other].kind is not Kind.DIRECTORY for other in layer)
    }


def remove(tree: Model, path: Path) -> None:
    for each in [each for each in tree if each == path or below(path, each)]:
        del tree[each]


def apply_to_model(tree: Model, layer: Model, hidden: set[Path], opaque: set[Path]) -> None:
    for path in hidden:
        remove(tree, path)
    for path in opaque:
        for each in [each for each in tree if below(path, each)]:
            del tree[each]
    for path in sorted(layer, key=len):
        for depth in range(1, len(path)):
            if tree.get(path[:depth], a_file()).kind is not Kind.DIRECTORY:
                tree[path[:depth]] = IMPLIED_DIRECTORY
        if not (path in tree and {tree[path].kind, layer[path].kind} == {Kind.DIRECTORY}):
            remove(tree, path)
        tree[path] = layer[path]


def hard_links(data: st.DataObject, tree: Model, layer: Model) -> dict[Path, Path]:
    """Links at new names, each to a file that is there once the layer is applied."""
    targets = sorted(path for path, entry in tree.items() if entry.kind is not Kind.DIRECTORY)
    folders = [(), *sorted(path for path in tree if tree[path].kind is Kind.DIRECTORY)]
    if not targets:
        return {}
    drawn = data.draw(st.lists(st.tuples(st.sampled_from(folders), st.sampled_from(targets)), max_size=2))
    links = {(*where, f"link{number}"): target for number, (where, target) in enumerate(drawn)}
    return {path: target for path, target in links.items() if path not in tree and path not in layer}


@given(st.data())
def test_random_layers_in_any_order_of_entries_make_the_models_tree(data: st.DataObject) -> None:
    tree, model = FileTree(), Model()
    for number in range(1, data.draw(st.integers(1, 4)) + 1):
        layer = consistent(data.draw(_CONTENTS))
        hidden = data.draw(st.sets(_PATHS, max_size=2))
        opaque = data.draw(st.sets(_PATHS, max_size=1))
        apply_to_model(model, layer, hidden, opaque)
        links = hard_links(data, model, layer)
        model |= {path: model[target] for path, target in links.items()}
        entries = [
            *(("/".join(path), entry) for path, entry in layer.items()),
            *(("/".join((*path[:-1], f".wh.{path[-1]}")), a_file()) for path in hidden),
            *(("/".join((*path, ".wh..wh..opq")), a_file()) for path in opaque),
            *(
                ("/".join(path), Entry(kind=Kind.HARD_LINK, mode=0o644, target="/".join(target)))
                for path, target in links.items()
            ),
        ]
        tree.apply(data.draw(st.permutations(entries)), subject=f"layer {number}")
    assert {path: entry for path, entry in tree.walk() if path != "/"} == {
        f"/{'/'.join(path)}": entry for path, entry in model.items()
    }
