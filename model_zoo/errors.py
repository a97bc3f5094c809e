"""The errors of the zoo. Each is one line for a person and names what mends it.

TierwiseError
└── ZooError
    ├── UnknownModel          a name that the manifest or a node's pool lacks
    ├── ModelRefused          a file that `zoo add` does not take, and why
    ├── CannotEvaluate        nothing that accuracies could be measured on, or with
    ├── ModelMissing          known, but no file of it is in the cache
    ├── ModelCorrupt          a file that is not what the index says
    ├── ModelUnusable         a file that is what the index says, and that the runtime cannot run all the same
    ├── BadImage              bytes that are no photograph, or one that is too large to decode
    ├── RuntimeMissing        neither LiteRT nor tflite-runtime can be imported
    ├── FetchFailed           an archive that cannot be had, or is not what the manifest says
    │   └── Unreachable       there is no way to the server at all
    ├── BuildFailed           TensorFlow cannot be had, or could not build
    └── IndexUnusable         the cache cannot be read or written
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from broker.errors import TierwiseError


class ZooError(TierwiseError):
    """What can go wrong with networks and their files.

    `hint`: the fix where `tierwise` is installed. `node_hint`: the fix on a node, which has `tierwise-agent` alone.
    """

    def __init__(self, what: str, hint: str = "", node_hint: str = "") -> None:
        super().__init__(f"{what}; {hint}" if hint else what)
        self.what = what
        self.node_hint = node_hint or hint


def on_node(error: TierwiseError) -> str:
    """The message of an error with the commands that exist on a node."""
    if isinstance(error, ZooError) and error.node_hint:
        return f"{error.what}; {error.node_hint}"
    return str(error)


def node_fix(name: str, *, added: bool) -> str:
    """How a node gets the file of a model."""
    if added:
        return f"copy {name}.tflite, index.json and local-manifest.yaml from the machine where it was added"
    return f"get it with: tierwise-agent models fetch {name}, or copy the folder of models of a machine that has it"


class UnknownModel(ZooError):
    """A name that the manifest or a node's pool lacks."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"{name!r} is not one of the models {', '.join(known)}")


class ModelRefused(ZooError):
    """A file that is not taken into the zoo; the message says why, and what would do."""


class CannotEvaluate(ZooError):
    """Nothing that accuracies could be measured on, or with: no labelled photograph, or untrained weights."""


class ModelMissing(ZooError):
    """Known, but no file of it is in the cache."""

    def __init__(self, name: str, directory: Path, *, added: bool = False) -> None:
        super().__init__(
            f"model {name} is not in {directory}",
            f"add it with: tierwise zoo add FILE.tflite --name {name} --replace, "
            "or copy the folder of the machine that has it"
            if added
            else f"get it with: tierwise zoo fetch {name} "
            f"(offline: tierwise zoo build {name}; on a node: tierwise-agent models fetch {name})",
            node_fix(name, added=added),
        )


class ModelCorrupt(ZooError):
    """A file that is not what the index says: `expected` and `found` are sha256 (or "no file")."""

    def __init__(self, path: Path, expected: str, found: str, command: str, node_hint: str = "") -> None:
        what = f"{path} is corrupt: expected sha256 {expected}, found {found}"
        super().__init__(what, f"mend it with: {command}", node_hint)
        self.path = path
        self.expected = expected
        self.found = found
        self.command = command


class ModelUnusable(ZooError):
    """A whole file that the runtime cannot run."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} cannot be run: {why}",
            f"look at it with: tierwise zoo verify {path.stem}",
            "check it with: tierwise-agent models verify, or copy the folder of models of a machine that has it",
        )
        self.why = why


class BadImage(ZooError):
    """Bytes that are no photograph, or one that is too large to decode."""


class RuntimeMissing(ZooError):
    """Neither LiteRT nor tflite-runtime can be imported."""


class FetchFailed(ZooError):
    """An archive that cannot be had, or is not what the manifest says."""


class Unreachable(FetchFailed):
    """There is no way to the server at all."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(
            f"cannot reach {url} ({why})",
            "without internet access: tierwise zoo build",
            "without internet access: copy the folder of models of a machine that has them",
        )


class BuildFailed(ZooError):
    """TensorFlow cannot be had, or could not build."""


class IndexUnusable(ZooError):
    """The cache cannot be read or written."""
