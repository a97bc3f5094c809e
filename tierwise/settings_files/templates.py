"""New files from the shipped, annotated ones: the answers are put in at their places, and every comment stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import yaml

from broker.errors import TierwiseError
from configs.editing import as_yaml, put
from configs.expected import expected_at
from configs.json_schema import as_text, file_name, json_schema
from configs.kinds import schema_of
from configs.loader import ConfigError, loads
from tierwise.node_files import BROKER_FILE, NODE_FILE, ORCHESTRATOR_FILE

Answers = Mapping[str, str]  # by dotted key, as a person would write the value into the file


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask. `flag` is the option that answers it."""

    key: str
    text: str
    flag: str


SITE = Question("site", "Site that the node belongs to", "--site")
HOST = Question("broker.host", "Host of the broker (Mosquitto, on the edge)", "--broker-host")
PORT = Question("broker.port", "Its port", "--broker-port")
NODE = Question("node", "Name of the node, unique in its site", "--node")
FLOOR = Question("goal.accuracy_floor", "Accuracy floor: min, max, or average Top-5 in %", "--floor")
POLICY = Question("goal.policy", "Who decides (policy)", "--policy")
QUESTIONS: Mapping[str, tuple[Question, ...]] = {
    "device": (SITE, NODE, HOST, PORT),
    "edge": (SITE, NODE, HOST, PORT),
    "cloud": (SITE, NODE, HOST, PORT),
    "orchestrator": (SITE, HOST, PORT, FLOOR, POLICY),
    "broker": (Question("host", "Address to listen on", "--broker-host"), Question("port", "Port", "--broker-port")),
}
QUESTIONS_OF_SITE = (SITE, HOST, PORT, FLOOR, POLICY)


class AnswerRefused(TierwiseError):
    """An answer, or the value of an option, that the schema does not take."""


@dataclass(slots=True)
class NewFile:
    """A file that is being made: the shipped one with answers in their places."""

    kind: str
    text: str = ""
    answers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.text = self.text or (resources.files("configs") / f"{self.kind}.yaml").read_text(encoding="utf-8")

    def answer(self, key: str, written: str) -> None:
        """Put `written` in at `key`. Raises AnswerRefused, and then nothing is changed."""
        changed = put(self.text, key, self._value(key, written))
        if mistakes := self._mistakes(changed):
            own = {key: mistakes[key]} if key in mistakes else mistakes
            raise AnswerRefused("; ".join(f"{key}: {what}" for key, what in own.items()))
        self.text = changed
        self.answers[key] = written

    def proposed(self, key: str) -> str:
        """What stands at `key` now, or its default, as it would be written."""
        settings: Any = loads(self.text, schema_of(self.kind), "")
        for part in key.split("."):
            settings = getattr(settings, part, None)
        if settings is None:
            return ""
        return str(settings) if not isinstance(settings, float) else f"{settings:g}"

    def _value(self, key: str, written: str) -> Any:
        """`written` as YAML reads it, or as text where the schema wants text."""
        expected = expected_at(schema_of(self.kind), tuple(key.split(".")))
        if expected is not None and expected.annotation is str:
            return written
        try:
            return yaml.safe_load(written)
        except yaml.YAMLError:
            return written

    def _mistakes(self, text: str) -> dict[str, str]:
        try:
            loads(text, schema_of(self.kind), "")
        except ConfigError as error:
            return {problem.key: problem.what for problem in error.problems}
        return {}


def schema_files(kinds: set[str]) -> dict[str, str]:
    """The schemas that the first lines of such files name, by file name."""
    return {file_name(kind): as_text(json_schema(kind)) for kind in kinds}


def site_files(answers: Answers, devices: int) -> dict[str, NewFile]:
    """The files of a whole site that fit each other, by their paths in its folder. Raises AnswerRefused.

    `site.yaml` lies beside the folders that `tierwise broker provision` completes: each node's own, and the broker's.
    """
    names = [f"s{number}" for number in range(1, devices + 1)]
    members = NewFile("site")
    orchestrator = f"nodes/{members.proposed('orchestrator')}/{ORCHESTRATOR_FILE}"
    files = {f"broker/{BROKER_FILE}": NewFile("broker"), orchestrator: NewFile("orchestrator")}
    files |= {f"nodes/{kind}/{NODE_FILE}": NewFile(kind) for kind in ("edge", "cloud")}
    device = NewFile("device")
    for file in (*files.values(), device):
        for question in QUESTIONS.get(file.kind, ()):
            if question.key in answers:
                file.answer(question.key, answers[question.key])
    for name in names:
        files[f"nodes/{name}/{NODE_FILE}"] = NewFile("device", put(device.text, "node", name))
    members.answer("site", answers.get("site", device.proposed("site")))
    members.answer("hosts", as_yaml([answers.get("broker.host", "127.0.0.1")]))
    members.answer("nodes.end", as_yaml(names))
    if "broker.port" in answers:
        files[f"broker/{BROKER_FILE}"].answer("port", answers["broker.port"])
        members.answer("port", answers["broker.port"])
    return {"site.yaml": members, **files}
