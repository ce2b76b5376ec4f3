"""The examples of a deployment: they start what exists, and expose nothing."""

from __future__ import annotations

import json
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
OWN_IMAGES = {"postgres", "valkey", "prometheus", "grafana"}
GRAFANA = ROOT / "workers" / "grafana"


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


def test_pods_show_their_metrics_where_prometheus_is_told_to_look():
    deployments = [document for document in KUBERNETES if document["kind"] == "Deployment"]
    assert deployments
    for deployment in deployments:
        template = deployment["spec"]["template"]
        [container] = template["spec"]["containers"]
        variables = {one["name"]: one["value"] for one in container["env"]}
        notes = template["metadata"]["annotations"]
        assert notes["prometheus.io/scrape"] == "true"
        assert notes["prometheus.io/port"] == variables["CASCADE_METRICS_PORT"]
        assert container["ports"] == [
            {"name": "metrics", "containerPort": int(variables["CASCADE_METRICS_PORT"])}
        ]
        assert variables["CASCADE_METRICS_HOST"] == "0.0.0.0"


def test_what_is_mounted_is_there_and_only_read():
    for name in ("prometheus", "grafana"):
        mounts = [v for v in COMPOSE["services"][name]["volumes"] if v.startswith("./")]
        assert mounts
        for mount in mounts:
            source, _, mode = mount.split(":")
            assert (ROOT / source).exists(), mount
            assert mode == "ro"


def test_prometheus_asks_every_part_and_keeps_our_labels():
    """Its own label `job` would take the place of ours."""
    config = yaml.safe_load((GRAFANA / "prometheus.yml").read_text())
    parts = {n for n in COMPOSE["services"] if n.startswith("worker-")} | {"control", "sweeper"}
    [ours] = [c for c in config["scrape_configs"] if c["job_name"] == "cascade-batch"]
    [found] = ours["dns_sd_configs"]

    assert set(found["names"]) == parts
    assert ours["honor_labels"] is True
    mounts = COMPOSE["services"]["prometheus"]["volumes"]
    for rules in config["rule_files"]:
        assert any(mount.endswith(f":/etc/prometheus/{rules}:ro") for mount in mounts)
    for part in parts:
        assert COMPOSE["services"][part]["environment"]["CASCADE_METRICS_PORT"] == str(
            found["port"]
        )


def test_the_dashboard_asks_the_provisioned_source():
    folder = GRAFANA / "provisioning"
    [source] = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    [provider] = yaml.safe_load((folder / "dashboards" / "cascade-batch.yml").read_text())[
        "providers"
    ]
    dashboard = json.loads((GRAFANA / "dashboard.json").read_text())
    asked = {t["datasource"]["uid"] for p in dashboard["panels"] for t in p.get("targets", ())}

    assert source["url"] == "http://prometheus:9090"
    assert asked == {source["uid"]}
    mounts = COMPOSE["services"]["grafana"]["volumes"]
    assert any(m.split(":")[1].startswith(provider["options"]["path"]) for m in mounts)


def test_images_of_others_are_pinned():
    for name in OWN_IMAGES:
        assert re.search(r":v?\d", COMPOSE["services"][name]["image"]), name


def test_panels_that_the_documentation_says_to_look_at_are_on_the_dashboard():
    panels = json.loads((GRAFANA / "dashboard.json").read_text())["panels"]
    text = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
    table = text.partition("What to look at first")[2].partition("##")[0]
    named = set(re.findall(r"\*([A-Z][a-z ]+)\*", table))

    assert len(named) >= 6
    assert named <= {panel["title"] for panel in panels}
