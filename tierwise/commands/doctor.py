"""`tierwise doctor`: what is wrong with the files of a site."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: tierwise doctor --security site/ device.yaml")
def doctor(
    places: Annotated[list[Path] | None, typer.Argument(help="Files, or folders that hold them.")] = None,
    security: Annotated[bool, typer.Option("--security", help="The rules of security alone.")] = False,
    rules: Annotated[bool, typer.Option("--rules", help="List the rules instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Examine mosquitto.conf, dynamic-security.json, keys, certificates, revocation lists and YAML files of a site.

    Nothing is changed. Each finding names the place, what is wrong, and how to mend it. Exit codes: 0 nothing worse
    than warnings; 1 at least one error; 2 wrong usage.
    """
    from tierwise.doctor.examine import ALL_RULES, Examined, examine

    if rules:
        _print_rules(as_json, {rule.name: (rule.severity, (rule.check.__doc__ or "").strip()) for rule in ALL_RULES})
        return
    if not places:
        raise typer.BadParameter("name files, or the folder that they are in", param_hint="PLACES")
    found = examine(places, datetime.now(UTC))
    if not security:
        from tierwise.doctor.meaning import unusable

        found = Examined(found.files, [*found.findings, *unusable(places)])
    errors = sum(finding.severity == "error" for finding in found.findings)
    if as_json:
        print(json.dumps({"files": found.files, "findings": [item.as_json() for item in found.findings]}, indent=1))
    else:
        for finding in found.findings:
            typer.echo(str(finding))
        typer.echo(f"{found.files} files examined: {errors} errors, {len(found.findings) - errors} warnings.")
    raise typer.Exit(1 if errors else 0)


def _print_rules(as_json: bool, rules: dict[str, tuple[str, str]]) -> None:
    if as_json:
        print(
            json.dumps({name: {"severity": severity, "why": why} for name, (severity, why) in rules.items()}, indent=1)
        )
        return
    for name, (severity, why) in rules.items():
        typer.echo(f"{severity:7}  {name:26} {why}")
