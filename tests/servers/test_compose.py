"""docker/compose.yml, checked as far as it can be without an engine."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any
from urllib.parse import urlsplit

import pytest

import leaderlock
from leaderlock.testing.servers.programs import program
from tests.elector.tools import ROOT
from tests.servers.external import DOCKER_URLS

Services = dict[str, dict[str, Any]]
CLUSTERS = {f"{store}-{n}" for store in ("etcd", "zookeeper", "consul") for n in (1, 2, 3)}
DEMO = {"customers", "payments", "monitor", *(f"server-{n}" for n in (1, 2, 3, 4))}


def compose_config(*options: str) -> Services:
    """What the program `docker compose` itself makes of the file."""
    command = [program("docker-compose"), "--file", str(ROOT / "docker" / "compose.yml")]
    command += [*options, "config", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # warnings
    services: Services = json.loads(done.stdout)["services"]
    return services


@pytest.fixture(scope="module")
def services() -> Services:
    return compose_config("--profile", "clusters", "--profile", "demo")


def test_it_brings_up_single_nodes_and_clusters_by_profile(services: Services) -> None:
    assert compose_config().keys() == DOCKER_URLS.keys()
    assert services.keys() == DOCKER_URLS.keys() | CLUSTERS | DEMO


def test_every_image_has_a_full_version_and_a_health_check(services: Services) -> None:
    for name, service in services.items():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name
        if name == "customers":  # which is over when it is done
            assert service["healthcheck"] == {"disable": True}
        elif name not in DEMO or "healthcheck" in service:  # else that of its image
            assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name


def test_the_images_of_the_demo_have_the_version_of_the_project(services: Services) -> None:
    assert {services[name]["image"].partition(":")[2] for name in DEMO} == {leaderlock.__version__}
    readme = (ROOT / "docker" / "README.md").read_text("utf-8")
    assert set(re.findall(r"^FROM leaderlock:(.*)$", readme, re.MULTILINE)) == {
        leaderlock.__version__
    }


def test_it_publishes_the_ports_that_the_tests_use_and_only_to_this_machine(
    services: Services,
) -> None:
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    published = [int(port["published"]) for each in ports.values() for port in each]
    assert len(set(published)) == len(ports)
    assert ports.keys() == DOCKER_URLS.keys() | CLUSTERS | {"monitor"}
    assert {port["host_ip"] for each in ports.values() for port in each} == {"127.0.0.1"}
    for store, url in DOCKER_URLS.items():
        assert int(ports[store][0]["published"]) == urlsplit(url).port


def test_the_readme_names_every_port(services: Services) -> None:
    readme = (ROOT / "docker" / "README.md").read_text("utf-8")
    for service in services.values():
        for port in service.get("ports", ()):
            assert port["published"] in readme


def test_the_nodes_of_a_cluster_know_each_other(services: Services) -> None:
    for name in CLUSTERS:
        store = name.partition("-")[0]
        text = json.dumps([services[name].get("command"), services[name].get("environment")])
        others = {other for other in CLUSTERS if other.startswith(store)} - {name}
        assert all(other in text for other in others), name
