"""Changes one key of a YAML text and leaves everything else as it is, comments and alignment included.

Pure. Keys are dotted. The text must be YAML whose root is a mapping.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from broker.errors import TierwiseError

PLAIN = re.compile(r"[A-Za-z0-9/~.](?:[A-Za-z0-9_/~. -]*[A-Za-z0-9_/~.-])?")


class NoSuchPlace(TierwiseError):
    """The text has something else where a section would have to be."""


def put(text: str, key: str, value: Any) -> str:
    """Set `key` to `value`: in its place, in that of a line that has it commented out, or at its section's end."""
    parts = key.split(".")
    node, _, depth = _way(text, parts)
    if depth == len(parts):
        return _replaced(text, node, as_yaml(value))
    for part in reversed(parts[depth + 1 :]):
        value = {part: value}
    if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"):
        return _replaced(text, node, as_yaml({parts[depth]: value}))
    if not isinstance(node, yaml.MappingNode):
        raise NoSuchPlace(f"{'.'.join(parts[:depth])} is no mapping, so {key} cannot be put into it")
    if node.flow_style:
        comma = ", " if node.value else ""
        end = node.end_mark.index - 1
        return f"{text[:end].rstrip()}{comma}{parts[depth]}: {as_yaml(value)}{text[end:]}"
    return _put_into_block(text, node, parts[depth], value)


def rename(text: str, key: str, name: str) -> str:
    """Give the last part of `key` another name; nothing where the text lacks it."""
    parts = key.split(".")
    _, key_node, depth = _way(text, parts)
    if depth < len(parts) or key_node is None:
        return text
    return text[: key_node.start_mark.index] + name + text[key_node.end_mark.index :]


def drop(text: str, key: str) -> str:
    """Take `key` and its value out; nothing where the text lacks it. Its line stays, empty, where that is one."""
    parts = key.split(".")
    node, key_node, depth = _way(text, parts)
    if depth < len(parts) or key_node is None:
        return text
    parent, _, _ = _way(text, parts[:-1])
    start, end = key_node.start_mark.index, _end(node)
    if isinstance(parent, yaml.MappingNode) and parent.flow_style:
        after = re.match(r"\s*,\s*", text[end:])
        before = re.search(r",\s*$", text[:start])
        if after:
            return text[:start] + text[end + after.end() :]
        return text[: before.start() if before else start] + text[end:]
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end
    return text[:start].rstrip(" ") + "\n" * text.count("\n", start, line_end) + text[line_end:]


def as_yaml(value: Any) -> str:
    """One value on one line, in quotes where it needs them."""
    return _dumped(value, flow=True).removesuffix("...\n").strip()


class _Dumper(yaml.SafeDumper):
    """Quotes all text that could mean something in a flow mapping: PyYAML writes some that it does not read there."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None if PLAIN.fullmatch(value) else "'" if value.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def _dumped(value: Any, flow: bool) -> str:
    dumped: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=flow, sort_keys=False, allow_unicode=True, width=10**6
    )
    return dumped


def _way(text: str, parts: list[str]) -> tuple[yaml.Node, yaml.Node | None, int]:
    """The deepest node on the way, the key that led to it, and how many parts were gone."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        raise NoSuchPlace("the text is no mapping of keys to values")
    key_node = None
    for depth, part in enumerate(parts):
        found = [pair for pair in node.value if pair[0].value == part] if isinstance(node, yaml.MappingNode) else []
        if not found:
            return node, key_node, depth
        key_node, node = found[-1]
    return node, key_node, len(parts)


def _end(node: yaml.Node) -> int:
    """Behind the last character of `node`: the end mark of a block is behind the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _replaced(text: str, node: yaml.Node, written: str) -> str:
    start, end = node.start_mark.index, _end(node)
    empty = start == end
    written = f" {written}" if empty and not text[:start].endswith(" ") else written
    rest = text[end:]
    if comment := re.match(r"( +)(?=#)", rest):
        blanks = max(1, len(comment[1]) + (end - start) - len(written))
        rest = " " * blanks + rest[comment.end() :]
    return text[:start] + written + rest


def _put_into_block(text: str, parent: yaml.MappingNode, name: str, value: Any) -> str:
    margin = " " * parent.start_mark.column
    begin = text.rfind("\n", 0, parent.start_mark.index) + 1
    while above := re.search(rf"(?:^|(?<=\n)){margin}#[^\n]*\n\Z", text[:begin]):
        begin = above.start()
    end = text.find("\n", _end(parent))
    end = len(text) if end < 0 else end
    while following := re.match(rf"\n(?:{margin}[ ]*#[^\n]*|[ ]*(?=\n))", text[end:]):
        end += following.end()
    commented = re.compile(
        rf"^{margin}# ?{re.escape(name)}:[ ]*(?P<value>[^#\n]*?)(?P<rest>[ ]+#[^\n]*)?$", re.MULTILINE
    )
    written = f"{margin}{name}: {as_yaml(value)}"
    if found := commented.search(text, begin, end):
        rest = (found["rest"] or "").lstrip()
        blanks = max(1, found.end() - found.start() - len(rest) - len(written))
        return text[: found.start()] + written + (" " * blanks + rest if rest else "") + text[found.end() :]
    if isinstance(value, dict):
        block = _dumped({name: value}, flow=False)
        written = "\n".join(margin + line for line in block.rstrip("\n").split("\n"))
    at = _end(parent)
    at = text.find("\n", at) if "\n" in text[at:] else len(text)
    return f"{text[:at]}\n{written}{text[at:]}"
