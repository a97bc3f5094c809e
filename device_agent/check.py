"""`tierwise-agent check`: would this node work? Reads everything that it would read, connects, and changes nothing."""

from __future__ import annotations

import sys
from pathlib import Path

from broker.errors import TierwiseError
from configs.loader import load
from configs.node import NodeConfig, RequesterMode
from device_agent.agent import pool_of
from device_agent.connection_check import check_connection
from device_agent.images.source import open_source
from model_zoo.cache import check as check_file
from model_zoo.errors import IndexUnusable, on_node
from model_zoo.runtime import interpreter_class


def check(file: Path) -> int:
    """Print what is right on standard output and what is not on standard error; 1 if the node could not work.

    A broker that cannot be reached is no fault of the node: agents keep trying. Raises ConfigError.
    """
    config = load(file, NodeConfig)
    print(f"settings    {file}: {config.node} of site {config.site}, tier {config.tier}")
    if config.emulate is not None:
        print("emulated    this node's times are given, not measured")
    faults = [*_faults_of_models(config), *_faults_of_images(config), *_faults_of_broker(config)]
    for fault in faults:
        print(f"tierwise-agent: {on_node(fault)}", file=sys.stderr)
    return 1 if faults else 0


def _faults_of_models(config: NodeConfig) -> list[TierwiseError]:
    faults: list[TierwiseError] = []
    try:
        interpreter_class()
        pool = pool_of(config)
    except TierwiseError as error:
        return [error]
    for name in config.models.pool:
        try:
            model = pool.described(name)
            check_file(model)
            print(f"model       {name}: {'trained' if model.trained else 'untrained'}, {model.path}")
        except IndexUnusable as error:  # the same for every model
            return [error]
        except TierwiseError as error:
            faults.append(error)
    return faults


def _faults_of_images(config: NodeConfig) -> list[TierwiseError]:
    if config.requester.mode is RequesterMode.NONE:
        return []
    try:
        source = open_source(config.requester.images)
        photograph = source.next()
        source.close()
    except TierwiseError as error:
        return [error]
    print(f"photograph  {photograph.name}: {len(photograph.content)} bytes")
    return []


def _faults_of_broker(config: NodeConfig) -> list[TierwiseError]:
    found = check_connection(config)
    if found.summary:
        print(f"broker      {found.summary}")
    return list(found.faults)
