"""`tierwise config`: write, check, show and upgrade the YAML that a person edits, and print its JSON Schema."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.errors import TierwiseError
from configs.kinds import ALSO, KINDS, kind_of, schema_of
from configs.loader import LARGEST_FILE_BYTES, ConfigError, Loaded, read, read_text, text_of
from configs.migration import current_version
from configs.orchestrator import OrchestratorConfig
from configs.section import Section
from tierwise.commands.config_new import new

app = typer.Typer(help="Write, check, show and upgrade YAML files.", no_args_is_help=True, add_completion=False)
app.command(epilog="Example: tierwise config new device --site home --node s1 --broker-host 192.168.1.10")(new)

KindOption = Annotated[str, typer.Option(help=f"{', '.join(KINDS)}; by default taken from the file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(epilog="Example: tierwise config check device.yaml edge.yaml")
def check(
    files: Annotated[list[Path], typer.Argument(help="YAML files, or folders that hold them.")],
    kind: KindOption = "",
    as_json: AsJson = False,
) -> None:
    """Read each file, and list every mistake with its line and column. Exit code 1 if there is one."""
    _known(kind)
    from tierwise.settings_files.fitting import misfits, task_of_site  # they know the networks, which takes a moment

    results: list[dict[str, Any]] = []
    mistakes = []
    places = [found for place in files for found in _files_at(place)]
    read_already = {file: _read_or_error(file, kind) for file in places}
    orchestrators = [
        loaded.settings
        for loaded in read_already.values()
        if isinstance(loaded, Loaded) and isinstance(loaded.settings, OrchestratorConfig)
    ]
    tasks = {settings.site: task_of_site(settings) for settings in orchestrators}
    for file in places:
        result: dict[str, Any] = {"file": str(file), "ok": True, "problems": []}
        try:
            loaded = read_already[file]
            if isinstance(loaded, ConfigError):
                raise loaded
            result["version"] = loaded.version
            if found := misfits(loaded, str(file), tasks):
                raise ConfigError(found)
            line = f"{file}: ok"
            if loaded.old:
                line += f", of version {loaded.version}: tierwise config migrate {file} makes it one of the present"
            if not as_json:
                print(line)
        except ConfigError as error:
            mistakes.append(str(error))
            result |= {"ok": False, "problems": [asdict(problem) for problem in error.problems]}
        results.append(result)
    if as_json:
        print(json.dumps(results, indent=1))
    if mistakes and as_json:
        raise typer.Exit(1)
    if mistakes:
        count = sum(len(result["problems"]) for result in results)
        said = f"{count} mistake{'s' if count > 1 else ''}"
        raise TierwiseError("\n".join([f"these files cannot be used: {said}", *mistakes]))


@app.command(epilog="Example: tierwise config show device.yaml")
def show(
    file: Annotated[Path, typer.Argument(help="A YAML file.")], kind: KindOption = "", as_json: AsJson = False
) -> None:
    """Print every setting in force under a file, with the line or the default that it comes from."""
    from tierwise.settings_files.showing import as_annotated_yaml, settings_of

    _known(kind)
    loaded = _read(file, kind)
    settings = settings_of(loaded)
    if as_json:
        rows = [
            {"key": one.key, "value": one.value, "source": one.source(str(file)), "description": one.description}
            for one in settings
        ]
        print(json.dumps({"file": str(file), "version": loaded.version, "settings": rows}, indent=1))
        return
    print(f"# {file}, with what it leaves out. Each value: where it comes from; what it means.")
    if loaded.old:
        print(f"# The file is of version {loaded.version}; lines are those of `tierwise config migrate {file}`.")
    print(as_annotated_yaml(settings, file.name), end="")


@app.command(epilog="Example: tierwise config schema device > node.schema.json")
def schema(
    kind: Annotated[str, typer.Argument(help=f"{', '.join((*KINDS, *ALSO))}; none with --output: all.")] = "",
    output: Annotated[Path | None, typer.Option(help="Folder to write it to, as KIND.schema.json.")] = None,
) -> None:
    """Print the JSON Schema of a kind of file: editors complete and check with it."""
    from configs.json_schema import as_text, file_name, json_schema
    from configs.rewriting import NotWritten

    _known(kind, "KIND")
    if not kind and output is None:
        raise typer.BadParameter(f"one of {', '.join((*KINDS, *ALSO))}, or --output for all", param_hint="KIND")
    if output is None:
        print(as_text(json_schema(kind)), end="")
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
        for one in [kind] if kind else KINDS:
            (output / file_name(one)).write_text(as_text(json_schema(one)), encoding="utf-8")
    except OSError as error:
        raise NotWritten(f"cannot write to {output}: {error.strerror}") from error


@app.command(epilog="Example: tierwise config migrate device.yaml")
def migrate(
    files: Annotated[list[Path], typer.Argument(help="YAML files of an earlier version.")], kind: KindOption = ""
) -> None:
    """Make files of earlier versions files of the present one. Comments stay; the former file is kept as FILE.bak-1."""
    from configs.rewriting import rewrite

    _known(kind)
    for file in files:
        loaded = _read(file, kind)
        present = current_version(type(loaded.settings))
        if loaded.old:
            backup = rewrite(file, loaded.text)
            print(f"{file}: now of version {present}; the former file is {backup}")
        else:
            print(f"{file}: is of version {present}, the present one")


def _files_at(place: Path) -> list[Path]:
    """`place`, or all YAML of a folder. Raises TierwiseError where that has none."""
    if not place.is_dir():
        return [place]
    found = sorted(path for path in place.rglob("*.y*ml") if path.is_file())
    if not found:
        raise TierwiseError(f"{place} holds no YAML files: name files, or the folder that they are in")
    return found


def _known(kind: str, option: str = "--kind") -> None:
    if kind and kind not in KINDS and kind not in ALSO:
        raise typer.BadParameter(f"one of {', '.join((*KINDS, *ALSO))}", param_hint=option)


def _read_or_error(file: Path, kind: str) -> Loaded[Section] | ConfigError:
    try:
        return _read(file, kind)
    except ConfigError as error:
        return error


def _read(file: Path, kind: str) -> Loaded[Section]:
    if str(file) == "-":
        text, name = text_of(sys.stdin.buffer.read(LARGEST_FILE_BYTES + 1), "stdin"), "stdin"
    else:
        text, name = read_text(file), str(file)
    return read(text, schema_of(kind or kind_of(text)), name)
