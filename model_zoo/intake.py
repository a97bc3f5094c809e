"""A classification network from outside becomes one of the zoo's: checked, copied, described, and taken out again."""

from __future__ import annotations

import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from broker.durable_file import replace_durably
from broker.vocabulary import IMAGENET, LABEL_SET_PATTERN, Metric, ModelName, model_name
from model_zoo.cache import InstalledModel, install, make_directory, models_directory, sha256_of, uninstall
from model_zoo.errors import IndexUnusable, ModelRefused, UnknownModel
from model_zoo.fitting import (
    DEFAULT_TASK,
    IMAGENET_CLASSES,
    MIN_TOP5_CLASSES,
    SiteTask,
    at_chance,
    digest_of,
    has_top5,
    label_set_of,
    no_accuracy,
    other_labels,
)
from model_zoo.graph import Graph, NotAGraph, read_graph
from model_zoo.labels import own_labels, read_labels
from model_zoo.local_manifest import (
    LARGEST_EDGE_PX,
    MOST_CLASSES,
    AddedModel,
    change_local,
    local_path,
    read_local,
    spec_of,
    with_model,
    without,
)
from model_zoo.locking import only_one
from model_zoo.manifest import load_manifest
from model_zoo.preprocessing import OutputKind, Preprocessing
from model_zoo.trial import try_file

LOCK = ".adding.lock"
LARGEST_FILE_BYTES = 500_000_000  # ViT-B in fp32 has 350 MB
LARGEST_LABELS_BYTES = 10_000_000
INPUT_TYPES = {"float32": "fp32", "uint8": "int8", "int8": "int8"}
BACKGROUND_CLASSES = 1001  # ImageNet's 1000 after a class for none of them, as in TensorFlow's networks of 2018


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person says of the network. None: take what the file tells. Percentages have at most one decimal."""

    name: str
    top1: float | None = None
    top5: float | None = None
    preprocessing: Preprocessing | None = None
    output: OutputKind | None = None
    background: bool | None = None
    mmacs: float | None = None
    labels: Path | None = None
    trained: bool = True
    replace: bool = False
    label_set: str | None = None
    site: SiteTask = DEFAULT_TASK
    force: bool = False


@dataclass(frozen=True, slots=True)
class Added:
    """What was taken in."""

    model: InstalledModel
    described: AddedModel
    manifest: Path


def add(file: Path, wish: Wish, directory: Path | None = None) -> Added:
    """Check `file`, copy it into the cache and describe it in the local manifest.

    Nothing of the file is trusted: its size is bounded before it is read, its graph is read with checked offsets, and
    the runtime runs it in a process of its own first.
    Raises ModelRefused, InvalidName, RuntimeMissing, IndexUnusable, ConfigError.
    """
    directory = directory or models_directory()
    name = _free_name(wish, directory)
    make_directory(directory)
    copy = directory / f".{name}.{secrets.token_hex(4)}.adding"
    try:
        _copy(file, copy)
        described = _described(copy, wish)
        labels = None if wish.labels is None else _checked_labels(wish.labels, described.classes)
        described = _with_labels(described, wish, labels, directory)
        _check_fit(name, described, wish)
        with only_one(directory / LOCK):
            _free_name(wish, directory)  # nobody else has taken it meanwhile
            # The description first: a crash in between leaves a model that is missing, never one that is run wrongly.
            manifest = change_local(directory, lambda local: with_model(local, name, described))
            model = install(directory, name, copy, trained=wish.trained, origin="added")
            _put_labels(own_labels(directory, name), labels)
    except ModelRefused as error:
        raise ModelRefused(f"{file} is not taken: {error}") from error
    finally:
        copy.unlink(missing_ok=True)
    return Added(model, described, manifest)


def remove(name: str, directory: Path | None = None, *, measured_only: bool = False) -> None:
    """Take an added network out, or forget only what was measured of any.

    Raises UnknownModel, ModelRefused (one of the eight), IndexUnusable, ConfigError.
    """
    directory = directory or models_directory()
    local, model = read_local(directory), model_name(name)
    if measured_only:
        if model not in local.measured:
            raise ModelRefused(f"nothing was measured of {name} ({local_path(directory)})")
    elif model in load_manifest().models:
        raise ModelRefused(f"{name} comes with Tierwise; --measured-only forgets what was measured of it")
    elif model not in local.models:
        raise UnknownModel(name, list(local.models) or ["(none was added)"])
    change_local(directory, lambda present: without(present, model, measured_only=measured_only))
    if not measured_only:
        uninstall(directory, model)
        _put_labels(own_labels(directory, model), None)


def _free_name(wish: Wish, directory: Path) -> ModelName:
    name = model_name(wish.name)
    if name in load_manifest().models:
        raise ModelRefused(f"{name} is one of the eight that come with Tierwise; take another --name")
    if name in read_local(directory).models and not wish.replace:
        raise ModelRefused(f"there is a model {name} already; take another --name, or --replace it")
    return name


def _copy(file: Path, copy: Path) -> None:
    try:
        if not file.is_file():
            raise ModelRefused("it is no regular file" if file.exists() else "there is no such file")
        if file.stat().st_size > LARGEST_FILE_BYTES:
            raise ModelRefused(f"it has {file.stat().st_size} bytes; at most {LARGEST_FILE_BYTES} are read")
        shutil.copyfile(file, copy)
    except OSError as error:
        raise ModelRefused(f"it cannot be copied to {copy.parent}: {error.strerror}") from error


def _described(file: Path, wish: Wish) -> AddedModel:
    graph = _graph(file)
    tried = try_file(file, wish.preprocessing)
    if tried.classes > MOST_CLASSES or tried.classes < 2:
        raise ModelRefused(f"it tells {tried.classes} classes apart; 2 to {MOST_CLASSES} are possible")
    background = tried.classes == BACKGROUND_CLASSES if wish.background is None else wish.background
    fields = {
        "sha256": sha256_of(file),
        "dtype": "fp32" if INPUT_TYPES[tried.input_type] == "fp32" else "int8",
        "input_px": _bounded(tried.input_px),
        "classes": tried.classes,
        "background": background,
        "preprocessing": tried.preprocessing,
        "output": wish.output or tried.output,
        "mmacs": round(_mmacs(graph) if wish.mmacs is None else wish.mmacs, 6),
        "top1": wish.top1,
        "top5": wish.top5,
    }
    try:
        return AddedModel.model_validate(fields)
    except ValidationError as error:
        [first, *_] = error.errors(include_url=False)
        raise ModelRefused(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _with_labels(described: AddedModel, wish: Wish, labels: str | None, directory: Path) -> AddedModel:
    """The description with the label set that was stated, or that the names or the number of classes show."""
    names = [] if labels is None else labels.splitlines()[described.background :]
    if wish.label_set is not None:
        if not re.fullmatch(LABEL_SET_PATTERN, wish.label_set):
            raise ModelRefused(f"{wish.label_set!r} is not the name of a label set: use 1 to 64 of a-z, 0-9, - and _")
        label_set = wish.label_set
    elif names:
        label_set = label_set_of(names, read_labels(directory, IMAGENET_CLASSES + 1)[1:])
    elif described.labels == IMAGENET_CLASSES:
        label_set = IMAGENET
    else:
        raise ModelRefused(
            f"which {described.labels} classes it tells apart was not said: give their names (--class-names FILE), or "
            "--label-set NAME; accuracies are comparable only within one label set"
        )
    if label_set == IMAGENET and described.labels != IMAGENET_CLASSES:
        raise ModelRefused(f"{IMAGENET} has {IMAGENET_CLASSES} classes, and it tells {described.labels} apart")
    digest = digest_of(names) if names else None
    for name, other in read_local(directory).models.items():
        if other.label_set != label_set or name == wish.name:
            continue
        both_named = digest is not None and other.labels_sha256 is not None
        if other.labels != described.labels or (both_named and digest != other.labels_sha256 and label_set != IMAGENET):
            raise ModelRefused(f"its classes are not those of {name}, which has the label set {label_set} too")
    return described.model_copy(update={"label_set": label_set, "labels_sha256": digest, "forced": wish.force})


def _check_fit(name: ModelName, described: AddedModel, wish: Wish) -> None:
    """Refuse a network of other classes than the site's, and accuracies that it cannot have or that are chance."""
    if described.top5 is not None and not has_top5(described.labels):
        raise ModelRefused(
            f"it has {described.labels} classes, and fewer than {MIN_TOP5_CLASSES} have no Top-5: give --top1 alone"
        )
    spec = spec_of(name, described)
    if why := other_labels(spec, wish.site.label_set):
        raise ModelRefused(
            f"{why}; for a site of its own set goal.label_set: {described.label_set} in orchestrator.yaml, and name "
            "that file: --config"
        )
    if not has_top5(described.labels) and wish.site.metric is Metric.TOP5:
        raise ModelRefused(str(no_accuracy(spec, wish.site.metric)))
    for metric in Metric:
        if why := at_chance(spec, metric):
            raise ModelRefused(f"{why}; --force takes it all the same")


def _graph(file: Path) -> Graph:
    try:
        graph = read_graph(file)
        graph.macs()
    except NotAGraph as error:
        raise ModelRefused(f"it is no TensorFlow Lite graph: {error}") from error
    except OSError as error:
        raise ModelRefused(f"it cannot be read: {error.strerror}") from error
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ModelRefused(
            f"it has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; one image and one vector of classes "
            "were expected"
        )
    if not 0 <= graph.inputs[0] < len(graph.tensors):
        raise ModelRefused("it is no TensorFlow Lite graph: its input is a tensor that is not there")
    image = graph.tensors[graph.inputs[0]]
    if len(image.shape) != 4 or image.shape[3] != 3 or image.type not in INPUT_TYPES:
        shape = " x ".join(map(str, image.shape)) or "a scalar"
        raise ModelRefused(
            f"its input is {shape} of {image.type}; one image, 1 x height x width x 3 of "
            f"{', '.join(INPUT_TYPES)}, was expected"
        )
    _bounded((image.shape[1], image.shape[2]))  # before it is run: a run takes that much memory
    return graph


def _mmacs(graph: Graph) -> float:
    return max(0, graph.macs()) / 1e6


def _bounded(size_px: tuple[int, int]) -> tuple[int, int]:
    if max(size_px) > LARGEST_EDGE_PX:
        raise ModelRefused(f"its image has {size_px[0]} x {size_px[1]} pixels; at most {LARGEST_EDGE_PX} an edge")
    return size_px


def _checked_labels(file: Path, classes: int) -> str:
    try:
        if file.stat().st_size > LARGEST_LABELS_BYTES:
            raise ModelRefused(f"{file} has more than {LARGEST_LABELS_BYTES} bytes of labels")
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ModelRefused(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ModelRefused(f"{file} is not UTF-8 text") from error
    lines = text.splitlines()
    if len(lines) != classes or not all(line.strip() for line in lines):
        raise ModelRefused(f"{file} has {len(lines)} lines; {classes} names were expected, in the order of the classes")
    return text


def _put_labels(path: Path, text: str | None) -> None:
    try:
        if text is None:
            path.unlink(missing_ok=True)  # of the network that it replaces
        else:
            replace_durably(path, lambda file: file.write(text.encode("utf-8")))
    except OSError as error:
        raise IndexUnusable(f"cannot write {path}: {error.strerror}") from error
