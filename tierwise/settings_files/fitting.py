"""What `tierwise config check` finds in files that are right by themselves and do not fit the site's networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from broker.vocabulary import SiteId
from configs.loader import ConfigError, Loaded
from configs.node import NodeConfig
from configs.orchestrator import OrchestratorConfig
from configs.problems import Problem
from configs.section import Section, floor_too_low
from configs.tree import exact
from model_zoo.fitting import SiteTask, cannot_fit
from model_zoo.local_manifest import site_manifest
from model_zoo.manifest import Manifest, load_manifest
from orchestrator.accuracy import accuracies_of

Tasks = Mapping[SiteId, SiteTask]


def task_of_site(settings: OrchestratorConfig) -> SiteTask:
    """The label set and the metric of an orchestrator's site."""
    return SiteTask(settings.goal.label_set, settings.goal.metric)


def misfits(loaded: Loaded[Section], file: str, tasks: Tasks) -> list[Problem]:
    """What does not fit the networks: a floor, a manifest, a pool. `tasks`: of the sites whose orchestrators are known.

    A manifest that is not on this machine is not looked at.
    """
    settings = loaded.settings
    if isinstance(settings, OrchestratorConfig):
        found = list(_of_orchestrator(settings))
    elif isinstance(settings, NodeConfig):
        found = list(_of_node(settings, tasks))
    else:
        return []
    return [_problem(loaded, file, key, what) for key, what in found]


def _of_orchestrator(settings: OrchestratorConfig) -> Iterator[tuple[str, str]]:
    task, path = task_of_site(settings), settings.files.manifest
    try:
        there = path is None or path.expanduser().exists()
        manifest = site_manifest(path) if there else load_manifest()
    except ConfigError as error:
        yield "files.manifest", str(error)
        return
    accuracies = accuracies_of(manifest, task)
    if not accuracies.tenths:
        if there:
            yield "goal.label_set", f"no network of {task.label_set} has a known {task.metric} accuracy"
    elif why := floor_too_low(settings.goal.accuracy_floor, accuracies.worst_tenths / 10, accuracies.best_tenths / 10):
        yield "goal.accuracy_floor", why
    if path is not None:
        for name, spec in manifest.models.items():
            if spec.added and (reason := cannot_fit(spec, task)):
                yield "files.manifest", f"{name} is not used: {reason}"


def _of_node(settings: NodeConfig, tasks: Tasks) -> Iterator[tuple[str, str]]:
    models = settings.models
    try:
        manifest: Manifest = site_manifest(models.manifest, models.directory)
    except ConfigError:
        return  # a file of the node, which need not be on this machine
    specs = [manifest.models[name] for name in models.pool if name in manifest.models]
    if settings.site in tasks:
        for spec in specs:
            if reason := cannot_fit(spec, tasks[settings.site]):
                yield "models.pool", f"{spec.name} is not used at this site: {reason}"
    elif len({spec.label_set for spec in specs}) > 1:
        said = ", ".join(f"{spec.name} ({spec.label_set or 'not stated'})" for spec in specs)
        yield "models.pool", f"all networks of a site have one label set, not {said}"


def _problem(loaded: Loaded[Section], file: str, key: str, what: str) -> Problem:
    root = loaded.tree.root
    node = None if root is None else exact(root, tuple(key.split(".")))
    line, column = (1, 1) if node is None else loaded.tree.place(node)
    return Problem(file, line, column, key, what)
