"""`tierwise zoo add` and `remove`: networks of one's own beside the eight."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from model_zoo.cache import models_directory
from model_zoo.evaluate import Evaluation
from model_zoo.intake import Added, Wish
from model_zoo.intake import add as take_in
from model_zoo.intake import remove as take_out
from model_zoo.local_manifest import local_path
from model_zoo.preprocessing import OutputKind, Preprocessing
from tierwise.commands.zoo_measure import as_json_of, evaluate_shown, table_of_evaluation
from tierwise.commands.zoo_shown import AsJson, Directory, mmacs_said, say

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
    replace: Annotated[bool, typer.Option("--replace", help="Instead of the one of that name.")] = False,
    directory: Directory = None,
    as_json: AsJson = False,
) -> None:
    """Take a classification network into the zoo, so that policies may choose it like the eight.

    The file is checked, run once in a process of its own, and copied; the local manifest then describes it. Give its
    published accuracy (--top5), or have it measured (--images and --labels).
    """
    if (images is None) != (labels is None):
        raise typer.BadParameter("--images and --labels go together", param_hint="--images")
    if images is not None and untrained:
        raise typer.BadParameter("untrained weights cannot be evaluated", param_hint="--untrained")
    wish = Wish(name, top1, top5, preprocessing, output, background, mmacs, class_names, not untrained, replace)
    added = take_in(file, wish, directory)
    found = None
    if images is not None and labels is not None:
        found = evaluate_shown([added.model.name], images, labels, directory or models_directory(), write=True)
    if as_json:
        say(True, {**_as_json(added), "evaluation": None if found is None else as_json_of(found)}, "")
        return
    say(False, None, _said(added, found))
    if found is not None:
        say(False, None, table_of_evaluation(found))


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
    accuracy = "" if what.top5 is None else f", Top-5 {what.top5:g} % as you say"
    lines = [
        f"{model.name} is in {model.path.parent}: {what.dtype}, {height_px} x {width_px} pixels, {what.preprocessing}, "
        f"{what.classes} classes{' with background' if what.background else ''} ({what.output}), "
        f"{mmacs_said(what.mmacs)} million MACs{accuracy}",
        f"for a node: models.pool: [..., {model.name}] in its YAML, and restart it",
        f"for the orchestrator on another machine: copy {added.manifest} there (files.manifest), and restart it",
    ]
    if what.top5 is None and found is None:
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
