"""The base of every section of every file: unknown keys are errors, values are frozen once read."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from broker.errors import InvalidName
from broker.vocabulary import ModelName, NodeId, SiteId, model_name, node_id, site_id


class Section(BaseModel):
    """One mapping of a YAML file."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, allow_inf_nan=False)


def _named(check: Any) -> AfterValidator:
    def validate(value: str) -> str:
        try:
            checked: str = check(value)
        except InvalidName as error:
            raise ValueError(str(error)) from error
        return checked

    return AfterValidator(validate)


SiteName = Annotated[SiteId, Field(strict=True), _named(site_id)]
NodeName = Annotated[NodeId, Field(strict=True), _named(node_id)]
Model = Annotated[ModelName, Field(strict=True), _named(model_name)]

FLOORS = {"min": 0.0, "max": 89.9}


def _floor_tenths(value: Any) -> Any:
    """`min` and `max` are the paper's words; a number is a percentage with at most one decimal."""
    if isinstance(value, str) and value in FLOORS:
        value = FLOORS[value]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 89.9:
        raise ValueError("must be min, max, or a percentage from 0 to 89.9")
    if abs(value * 10 - round(value * 10)) > 1e-9:
        raise ValueError("must have at most one decimal: accuracies are counted in tenths of a point")
    return round(value, 1)


Floor = Annotated[float, BeforeValidator(_floor_tenths)]


def floor_of(value: str | float) -> float:
    """An accuracy floor as Top-5 in %: `min`, `max` or a number, as text too. Raises ValueError."""
    try:
        number: str | float = float(value)
    except ValueError:
        number = value
    percent: float = _floor_tenths(number)
    return percent
