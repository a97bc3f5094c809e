"""Where things stand in a tree of YAML nodes. Pure; a tree may refer to itself."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from configs.expected import Location


def dotted(location: Location) -> str:
    """`broker.port`."""
    return ".".join(str(part) for part in location)


def nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    """Every node once, in the order of the text."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in reversed(node.value) for part in reversed(pair)]
        elif isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)


def paths(root: yaml.Node) -> Iterator[tuple[Location, yaml.Node]]:
    """Every node once, with where it stands."""
    seen: set[int] = set()
    waiting: list[tuple[Location, yaml.Node]] = [((), root)]
    while waiting:
        path, node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield path, node
        if isinstance(node, yaml.MappingNode):
            waiting += [((*path, str(key.value)), value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [((*path, at), value) for at, value in enumerate(node.value)]


def size(root: yaml.Node) -> int:
    """How many nodes there are once each alias stands for what it refers to. Raises RecursionError for its own part."""
    sizes: dict[int, int] = {}

    def of(node: yaml.Node) -> int:
        if id(node) in sizes:
            if not sizes[id(node)]:
                raise RecursionError
            return sizes[id(node)]
        sizes[id(node)] = 0
        total = 1
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                total += of(key) + of(value)
        elif isinstance(node, yaml.SequenceNode):
            for entry in node.value:
                total += of(entry)
        sizes[id(node)] = total
        return total

    return of(root)


def repeated_keys(root: yaml.Node) -> Iterator[yaml.Node]:
    """Each key that its mapping has already; YAML would silently take the last."""
    for node in nodes(root):
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    if key.value in keys:
                        yield key
                    keys.add(key.value)


def _walk(root: yaml.Node, location: Location) -> tuple[yaml.Node, yaml.Node | None, bool]:
    """The deepest node on the way to `location`, the key that led to it, and whether the way was gone to its end."""
    node, key_of_node = root, None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            for key, value in reversed(node.value):
                if str(key.value) == str(part):
                    node, key_of_node = value, key
                    break
            else:
                return node, key_of_node, False
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node, key_of_node = node.value[part], None
        else:
            return node, key_of_node, False
    return node, key_of_node, True


def find(root: yaml.Node, location: Location) -> tuple[yaml.Node, yaml.Node | None]:
    """The deepest node on the way to `location`, and the key that led to it."""
    node, key, _ = _walk(root, location)
    return node, key


def exact(root: yaml.Node, location: Location) -> yaml.Node | None:
    """The node at `location`, if there is one."""
    node, _, there = _walk(root, location)
    return node if there else None


def spot(node: yaml.Node, key: yaml.Node | None, kind: str) -> yaml.Node:
    """Where to point: at a key that should not be there or whose value is a block or empty, else at the value."""
    block = isinstance(node, yaml.CollectionNode) and not node.flow_style
    empty = isinstance(node, yaml.ScalarNode) and not node.value and node.style is None
    return key if key is not None and (kind == "extra_forbidden" or block or empty) else node
