"""The comparison of two images: which platforms, which layers have to be read, what differs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread

from anyarch.errors import ContentError, UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import CONFIG_MAX_BYTES, Image, ImageConfig, Index, Manifest
from anyarch.oci.media_type import CONFIG_TYPES, is_image
from anyarch.release.diff.config import compare_configs
from anyarch.release.diff.file_tree import FileTree
from anyarch.release.diff.files import TreeComparison
from anyarch.release.diff.ignore import Ignore
from anyarch.release.diff.layers import Layer, read_layer
from anyarch.release.diff.limits import Budget, Limits
from anyarch.release.diff.model import ImagesDiff, PlatformDiff, Side
from anyarch.release.parallel import both

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anyarch.oci.platforms import Platform
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAt:
    """One of the two images: where it is, and how the user wrote it."""

    store: Store
    target: Digest | Tag
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffOptions:
    """What counts.

    Args:
        platforms: Compare only these; empty for all that either side has.
        ignore: Paths and settings that do not count.
        timestamps: Whether modification times and the config's ``created`` count.
        history: Whether the config's history counts.
        limits: How much of one image is read at most.
    """

    platforms: Sequence[Platform] = ()
    ignore: Ignore = field(default_factory=Ignore)
    timestamps: bool = False
    history: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """One platform's image, its documents read."""

    store: Store
    config: ImageConfig
    layers: tuple[Layer, ...]


async def diff_images(
    a: ImageAt,
    b: ImageAt,
    options: DiffOptions | None = None,
    *,
    on_event: Callable[[str], None] = lambda _: None,
) -> ImagesDiff:
    """Compare two images, or two indexes platform by platform.

    Args:
        a: The one.
        b: The other.
        options: What counts.
        on_event: Told, in words, what is being read.

    Raises:
        ContentError: one of them is damaged, over a limit, or no container image.
        UsageError: a platform that neither side has was asked for.
        RegistryError: a store could not deliver.
    """
    options = options or DiffOptions()
    left, right = await both(partial(_platforms_of, a), partial(_platforms_of, b))
    wanted = _wanted(left, right, options.platforms)
    compared = []
    for platform in wanted:
        one, other = left.get(platform), right.get(platform)
        if one is None or other is None:
            only_in = Side.A if other is None else Side.B
            compared.append(PlatformDiff(platform=platform, only_in=only_in))
        elif one == other:
            compared.append(PlatformDiff(platform=platform, same_digest=True))
        else:
            loaded = await both(partial(_load, a, one), partial(_load, b, other))
            compared.append(await _compare(platform, *loaded, options, on_event))
    return ImagesDiff(a=a.name, b=b.name, platforms=tuple(compared))


async def _platforms_of(image: ImageAt) -> dict[Platform, Digest]:
    """Each platform's manifest; an image that is in no index has one platform, that of its config."""
    manifest = await image.store.get(image.target)
    if not isinstance(manifest, Index):
        return {(await _config(image, manifest)).platform: manifest.digest}
    found: dict[Platform, Digest] = {}
    for child in manifest.images:
        if not is_image(child.media_type):
            raise ContentError(f"{image.name}: its index points at {child.media_type}, which is no image")
        platform = child.platform
        if platform is None:
            platform = (await _config(image, await image.store.get(child.digest))).platform
        if platform in found:
            raise ContentError(
                f"{image.name}: two images for {platform}",
                hint="runtimes take the first, but which one was meant? compare them by digest",
            )
        found[platform] = child.digest
    return found


def _wanted(
    left: Mapping[Platform, Digest], right: Mapping[Platform, Digest], asked: Sequence[Platform]
) -> list[Platform]:
    known = sorted(left.keys() | right.keys(), key=lambda each: (str(each), each.os_version))
    unknown = [str(platform) for platform in asked if platform not in known]
    if unknown:
        raise UsageError(
            f"neither image is for {', '.join(unknown)}",
            hint=f"there is: {', '.join(map(str, known)) or 'nothing'}",
        )
    return [platform for platform in known if not asked or platform in asked]


async def _config(image: ImageAt, manifest: Manifest) -> ImageConfig:
    if not isinstance(manifest, Image) or manifest.config.media_type not in CONFIG_TYPES:
        raise ContentError(
            f"{image.name}: {manifest.digest} is no container image",
            hint="only images that a container can be started from are compared, no other artifacts",
        )
    raw = await image.store.get_blob(manifest.config, max_bytes=CONFIG_MAX_BYTES)
    return ImageConfig.from_bytes(raw, subject=f"config {manifest.config.digest} of {image.name}")


async def _load(image: ImageAt, digest: Digest) -> _Loaded:
    manifest = await image.store.get(digest)
    config = await _config(image, manifest)
    blobs = manifest.layers if isinstance(manifest, Image) else ()
    diff_ids = _diff_ids(config, subject=image.name)
    if len(diff_ids) != len(blobs):
        raise ContentError(
            f"{image.name}: {len(blobs)} layers, but the config lists {len(diff_ids)} diff_ids",
            hint="whoever made the image joined a config with layers that are not its own",
        )
    layers = tuple(
        Layer(blob=blob, diff_id=diff_id, subject=f"{image.name}: layer {number} ({blob.digest.short})")
        for number, (blob, diff_id) in enumerate(zip(blobs, diff_ids, strict=True), start=1)
    )
    return _Loaded(store=image.store, config=config, layers=layers)


def _diff_ids(config: ImageConfig, *, subject: str) -> list[Digest]:
    rootfs = config.document.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if found is None:
        return []
    try:
        if isinstance(found, list):
            return [Digest.parse(str(each)) for each in found]
    except UsageError as error:
        raise ContentError(f"{subject}: a diff_id of the config: {error.what}") from error
    raise ContentError(f"{subject}: the config's diff_ids are not a list")


async def _compare(
    platform: Platform,
    a: _Loaded,
    b: _Loaded,
    options: DiffOptions,
    on_event: Callable[[str], None],
) -> PlatformDiff:
    settings = compare_configs(a.config, b.config, timestamps=options.timestamps, history=options.history)
    ignored = options.ignore.setting
    differences = [each for each in settings if not ignored(_setting_name(each.area, each.name))]
    files = TreeComparison(ignore=options.ignore, timestamps=options.timestamps)
    shared = shared_layers(a.layers, b.layers)
    # The same layers in the same order are the same tree, whatever is in them.
    if shared < max(len(a.layers), len(b.layers)):
        trees = await _trees(platform, a, b, shared, options.limits, on_event)
        await anyio.to_thread.run_sync(files.compare, *trees)
    return PlatformDiff(platform=platform, paths=files.paths, differences=(*differences, *files.differences))


def _setting_name(area: str, name: str) -> str:
    return f"{area}.{name}" if name else area


def shared_layers(a: Sequence[Layer], b: Sequence[Layer]) -> int:
    """How many layers, from the base up, are the same in both.

    A layer counts if blob and diff_id agree. With equal blobs and different diff_ids one of the configs
    lies, and only reading the layer tells which one.
    """
    count = 0
    for one, other in zip(a, b, strict=False):
        if (one.blob.digest, one.diff_id) != (other.blob.digest, other.diff_id):
            break
        count += 1
    return count


async def _trees(
    platform: Platform,
    a: _Loaded,
    b: _Loaded,
    shared: int,
    limits: Limits,
    on_event: Callable[[str], None],
) -> tuple[FileTree, FileTree]:
    """Both file trees; the layers that both have at their base are read once."""
    left, right = FileTree(limits=limits), FileTree(limits=limits)
    budget = Budget(limits=limits)
    of_a, of_b = len(a.layers) - shared, len(b.layers) - shared
    on_event(f"{platform}: reading layers: {shared} that both have, {of_a} of A, {of_b} of B")
    await _read(a.store, a.layers[:shared], [left, right], budget)
    await both(
        partial(_read, a.store, a.layers[shared:], [left], budget.copy()),
        partial(_read, b.store, b.layers[shared:], [right], budget.copy()),
    )
    return left, right


async def _read(store: Store, layers: Sequence[Layer], trees: Sequence[FileTree], budget: Budget) -> None:
    for layer in layers:
        entries = await read_layer(store, layer, budget=budget)
        for tree in trees:
            await anyio.to_thread.run_sync(partial(tree.apply, entries, subject=layer.subject))
