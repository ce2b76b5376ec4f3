"""The examples of a deployment: they start what exists, and expose nothing."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from cascade_batch.cli.main import cli

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
KUBERNETES = [
    yaml.safe_load(path.read_text())
    for path in sorted((ROOT / "workers" / "kubernetes").glob("*.yaml"))
    if path.name != "kustomization.yaml"
]
OWN_IMAGES = {"postgres", "valkey"}


def commands() -> list[list[str]]:
    """Arguments of every `cascade-batch` that an example starts."""
    found = [s["command"] for n, s in COMPOSE["services"].items() if n not in OWN_IMAGES]
    for resource in KUBERNETES:
        containers = resource["spec"]["template"]["spec"]["containers"]
        found += [container["args"] for container in containers]
    for unit in (ROOT / "workers" / "systemd").glob("*.service"):
        started = re.search(r"^ExecStart=\S+/cascade-batch (.*)$", unit.read_text(), re.M)
        assert started is not None
        found.append(shlex.split(started[1].replace("%i", "small")))
    return found


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_every_command_and_option_exists(arguments):
    command: click.Command = cli
    rest = list(arguments)
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), rest.pop(0))
        assert found is not None
        command = found

    with command.make_context("", rest):
        pass


def test_every_published_port_is_this_hosts_alone():
    ports = [p for service in COMPOSE["services"].values() for p in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_no_password_has_a_default():
    text = (ROOT / "docker-compose.yml").read_text()
    used = re.findall(r"\$\{(\w*PASSWORD)(.*?)\}", text)

    assert {name for name, _ in used} == {"POSTGRES_PASSWORD", "VALKEY_PASSWORD", "FLOWER_PASSWORD"}
    assert all(rest.startswith(":?") for _, rest in used)


def test_every_service_is_looked_after():
    for name, service in COMPOSE["services"].items():
        assert service["restart"] in {"unless-stopped", "on-failure"}, name


def test_pods_run_without_privileges():
    for resource in KUBERNETES:
        pod = resource["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["resources"]["limits"]["memory"]
