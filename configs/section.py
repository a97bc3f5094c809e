"""The base of every section of every file: unknown keys are errors, values are frozen once read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
)

from broker.errors import InvalidName
from broker.vocabulary import (
    LABEL_SET_PATTERN,
    MODEL_PATTERN,
    NAME_PATTERN,
    ModelName,
    NodeId,
    SiteId,
    model_name,
    node_id,
    site_id,
)

# Of a field whose changed value takes effect without a restart; the JSON Schema says so too.
LIVE: dict[str, Any] = {"x-live": True}


class Section(BaseModel):
    """One mapping of a YAML file.

    The message of a rule over several keys begins with the dotted key that it is about, so that the loader can tell
    its place: `emulate.reference_ms lacks d1 of models.pool`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _named(check: Any) -> AfterValidator:
    def validate(value: str) -> str:
        try:
            checked: str = check(value)
        except InvalidName as error:
            raise ValueError(str(error)) from error
        return checked

    return AfterValidator(validate)


def _pattern(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern})


SiteName = Annotated[SiteId, Field(strict=True), _named(site_id), _pattern(NAME_PATTERN)]
NodeName = Annotated[NodeId, Field(strict=True), _named(node_id), _pattern(NAME_PATTERN)]
Model = Annotated[ModelName, Field(strict=True), _named(model_name), _pattern(MODEL_PATTERN)]


def _beside_file(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get(FOLDER)
    if folder is None or path.is_absolute():
        return path
    beside = Path(folder) / path
    return path if path.exists() and not beside.exists() else beside


FOLDER = "folder"  # in the validation context: where the file lies that is being read
# A relative one is taken from the folder of the file that names it, so that a copied folder works wherever it is; where
# nothing is there, from the working directory.
PathBesideFile = Annotated[Path, AfterValidator(_beside_file)]

LabelSetName = Annotated[
    str, Field(strict=True, pattern=LABEL_SET_PATTERN.replace("\\Z", "$")), _pattern(LABEL_SET_PATTERN)
]

HOST_PATTERN = r"^([^\s/:]+|[^\s/:]*(:[^\s/:]*){2,})\Z"  # a name, an IPv4 or an IPv6 address


def _host(value: str) -> str:
    if not re.match(HOST_PATTERN, value):
        raise ValueError(f"must be a name or an address and nothing else, not {value!r}: the port has a key of its own")
    return value


Host = Annotated[
    str,
    Field(min_length=1, max_length=253),
    AfterValidator(_host),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 253, "pattern": HOST_PATTERN}),
]

FLOORS = {"min": 0.0, "max": 89.9}
LOWEST_FLOOR = 72.8  # Top-5 of d7, the least accurate of the eight


def floor_too_low(percent: float, lowest: float, highest: float) -> str | None:
    """Why a floor below all models (`lowest` in %) is refused; None where it is not. 0 is no floor."""
    if percent <= 0 or percent >= lowest:
        return None
    meant = f" (did you mean {percent * 100:g}?)" if percent <= 1 else ""
    what = f"{percent:g} % is below the least accurate model's {lowest:g} %{meant}"
    return f"{what}; give {lowest:g} to {highest:g}, or min for no floor"


def _floor_tenths(value: Any, highest: float, lowest: float = 0.0) -> Any:
    """`min` and `max` are the paper's words; a number is a percentage with at most one decimal."""
    if isinstance(value, str) and value in FLOORS:
        return min(FLOORS[value], highest)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= highest:
        raise ValueError(f"must be min, max, or a percentage from {lowest:g} to {highest:g}")
    if too_low := floor_too_low(value, lowest, highest):
        raise ValueError(too_low)
    if abs(value * 10 - round(value * 10)) > 1e-9:
        raise ValueError("must have at most one decimal: accuracies are counted in tenths of a point")
    return round(value, 1)


def _floor_in_file(value: Any) -> Any:
    """A file cannot know which models a site has added, so that any percentage may stand there, but no fraction."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
        raise ValueError(f"must be a percentage, not a fraction; did you mean {value * 100:g}? min is no floor")
    return _floor_tenths(value, 100.0)


Floor = Annotated[
    float,
    BeforeValidator(_floor_in_file),
    WithJsonSchema({"anyOf": [{"enum": list(FLOORS)}, {"type": "number", "minimum": 0, "maximum": 100}]}),
]


def floor_of(value: str | float, highest: float = FLOORS["max"], lowest: float = LOWEST_FLOOR) -> float:
    """An accuracy floor in %: `min`, `max`, 0 (none) or a number from `lowest` to `highest`, as text too.

    Raises ValueError.
    """
    try:
        number: str | float = float(value)
    except ValueError:
        number = value
    percent: float = _floor_tenths(number, highest, lowest)
    return percent
