"""`tierwise zoo add` and `remove`: networks of one's own beside the eight."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from model_zoo.cache import LABELS, make_directory, models_directory
from model_zoo.errors import ModelRefused
from model_zoo.evaluate import Evaluation
from model_zoo.intake import Added, Wish
from model_zoo.intake import add as take_in
from model_zoo.intake import remove as take_out
from model_zoo.local_manifest import local_path
from model_zoo.preprocessing import OutputKind, Preprocessing
from tierwise.commands.zoo_measure import Asked, as_json_of, evaluate_shown, table_of_evaluation, task_of, write_shown
from tierwise.commands.zoo_shown import AsJson, Directory, SiteFile, mmacs_said, say

NotGiven = typer.Option(show_default=False)


def _percent(value: float | None) -> float | None:
    if value is not None and not (0 <= value <= 100 and abs(value * 10 - round(value * 10)) < 1e-9):
        raise typer.BadParameter("a percentage with at most one decimal")
    return value


Percentage = Annotated[float | None, typer.Option(callback=_percent, help="In %, at most one decimal.")]


def add(
    file: Annotated[Path, typer.Argument(help="A TensorFlow Lite file: one image in, one vector of classes out.")],
    name: Annotated[str, typer.Option(help="What it is called from now on.")],
    top5: Percentage = None,
    top1: Percentage = None,
    preprocessing: Annotated[
        Preprocessing | None,
        typer.Option(help="Which numbers its pixels are; a quantised file mostly tells.", show_default=False),
    ] = None,
    output: Annotated[OutputKind | None, typer.Option(help="By default as a run shows it.", show_default=False)] = None,
    class_names: Annotated[
        Path | None, typer.Option(help="The names of its classes, one a line, in their order.", show_default=False)
    ] = None,
    background: Annotated[
        bool | None,
        typer.Option(help="Class 0 stands for none of the others; by default with 1001 classes.", show_default=False),
    ] = None,
    mmacs: Annotated[
        float | None, typer.Option(min=0, help="Millions of MACs, by default counted.", show_default=False)
    ] = None,
    untrained: Annotated[bool, typer.Option("--untrained", help="Its answers mean nothing; for times only.")] = False,
    images: Annotated[Path | None, typer.Option(help="With --labels: measure its accuracy at once.")] = None,
    labels: Annotated[Path | None, typer.Option(help="What is on the photographs, as for zoo evaluate.")] = None,
    label_set: Annotated[
        str | None,
        typer.Option(help="Which classes it tells apart, by name; by default from --class-names, or 1000: ImageNet's."),
    ] = None,
    config: SiteFile = None,
    force: Annotated[bool, typer.Option("--force", help="Also if its accuracy is not better than chance.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Instead of the one of that name.")] = False,
    directory: Directory = None,
    as_json: AsJson = False,
) -> None:
    """Take a classification network into the zoo, so that policies may choose it like the eight.

    The file is checked, run once in a process of its own, and copied; the local manifest then describes it. Give its
    published accuracy (--top5, --top1), or have it measured (--images and --labels). It must tell the classes of the
    site apart, and do so better than chance; what it is then is measured before anything is taken in.
    """
    if (images is None) != (labels is None):
        raise typer.BadParameter("--images and --labels go together", param_hint="--images")
    if images is not None and untrained:
        raise typer.BadParameter("untrained weights cannot be evaluated", param_hint="--untrained")
    site, where = task_of(config), directory or models_directory()
    wish = Wish(
        name, top1, top5, preprocessing, output, background, mmacs, class_names, not untrained, replace,
        label_set, site, force,
    )  # fmt: skip
    found = None if images is None or labels is None else _measured(file, wish, images, labels, where)
    added = take_in(file, wish, where)
    if found is not None and not found.interrupted:
        write_shown(found, where, site, force=force)
    if as_json:
        say(True, {**_as_json(added), "evaluation": None if found is None else as_json_of(found)}, "")
        return
    say(False, None, _said(added, found))
    if found is not None:
        say(False, None, table_of_evaluation(found))


def _measured(file: Path, wish: Wish, images: Path, labels: Path, directory: Path) -> Evaluation:
    """Evaluate a network in a folder of its own, as it would be taken in. Raises ModelRefused if it is at chance."""
    make_directory(directory)
    with TemporaryDirectory(dir=directory, prefix=".measuring-") as name:
        aside = Path(name)
        if (directory / LABELS).is_file():
            shutil.copyfile(directory / LABELS, aside / LABELS)
        take_in(file, wish, aside)
        found = evaluate_shown([wish.name], images, labels, aside, Asked(wish.site))
    if not wish.force and any(each.at_chance(wish.site.metric) for each in found.accuracies):
        raise ModelRefused(f"{file} is not taken: it is not better than chance; --force takes it all the same")
    return found


def remove(
    name: Annotated[str, typer.Argument(help="A model that was added.")],
    measured_only: Annotated[
        bool, typer.Option("--measured-only", help="Forget only what was measured of it; for the eight too.")
    ] = False,
    directory: Directory = None,
) -> None:
    """Take a network out again that was added, with its file; or forget what was measured of any."""
    take_out(name, directory, measured_only=measured_only)
    what = f"what was measured of {name} is forgotten" if measured_only else f"{name} is out of the zoo"
    say(False, None, f"{what} ({local_path(directory)}); restart the nodes and the orchestrator that use it")


def _said(added: Added, found: Evaluation | None) -> str:
    model, what = added.model, added.described
    height_px, width_px = what.input_px
    said = [f"{name} {value:g} %" for name, value in (("Top-1", what.top1), ("Top-5", what.top5)) if value is not None]
    accuracy = f", {' and '.join(said)} as you say" if said else ""
    lines = [
        f"{model.name} is in {model.path.parent}: {what.dtype}, {height_px} x {width_px} pixels, {what.preprocessing}, "
        f"{what.classes} classes{' with background' if what.background else ''} of {what.label_set} ({what.output}), "
        f"{mmacs_said(what.mmacs)} million MACs{accuracy}",
        f"for a node: models.pool: [..., {model.name}] in its YAML, and restart it",
        f"for the orchestrator on another machine: copy {added.manifest} there (files.manifest), and restart it",
    ]
    if what.top5 is None and what.top1 is None and found is None:
        lines.append(
            f"its accuracy is unknown, so no policy will choose it; measure it: "
            f"tierwise zoo evaluate {model.name} --images DIR --labels FILE --write"
        )
    return "\n".join(lines)


def _as_json(added: Added) -> dict[str, Any]:
    model = added.model
    return {
        "name": model.name,
        "path": str(model.path),
        "bytes": model.bytes,
        "trained": model.trained,
        "manifest": str(added.manifest),
        **added.described.model_dump(mode="json"),
    }
