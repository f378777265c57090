"""The Helm chart, as Helm has rendered it (tools/render_chart.py): probes, patience, rights and names."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from typing import Any, Final

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.deploy.known import DEPLOY, LONGEST, ROOT, SERVER, UID, VARIABLES, WRITING, long_enough, pairs
from tools.render_chart import CASES, CHART, REFUSED, RENDERED, digest

Object = dict[str, Any]
FOUND: Final = json.loads(RENDERED.read_text())
VALUES: Final[Object] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: Final[Object] = json.loads((CHART / "values.schema.json").read_text())


def one(case: str, kind: str, name: str = "house-posthouse") -> Object:
    (found,) = (each for each in FOUND["cases"][case] if (each["kind"], each["metadata"]["name"]) == (kind, name))
    assert isinstance(found, dict)
    return found


def pod(case: str) -> Object:
    spec: Object = one(case, "StatefulSet")["spec"]["template"]["spec"]
    return spec


def container(case: str) -> Object:
    (found,) = pod(case)["containers"]
    assert isinstance(found, dict)
    return found


def merged(values: Object, more: Object) -> Object:
    return {
        name: merged(values.get(name, {}), value) if isinstance(value, dict) else value
        for name, value in {**values, **more}.items()
    } | {name: value for name, value in values.items() if name not in more}


def test_what_helm_rendered_belongs_to_the_chart_as_it_is() -> None:
    assert FOUND["chart"] == digest(), "the chart has changed: python tools/render_chart.py"
    assert set(FOUND["cases"]) == set(CASES)


@pytest.mark.skipif(
    shutil.which("helm") is None and importlib.util.find_spec("helm_python") is None, reason="there is no Helm here"
)
def test_helm_still_says_the_same() -> None:
    command = [sys.executable, str(ROOT / "tools" / "render_chart.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", CASES)
def test_the_schema_takes_what_the_cases_say_and_knows_every_value(case: str) -> None:
    Draft7Validator.check_schema(SCHEMA)
    Draft7Validator(SCHEMA).validate(merged(VALUES, CASES[case]))
    assert set(VALUES) | {"global"} == set(SCHEMA["properties"])


@pytest.mark.parametrize("word", REFUSED)
def test_the_schema_refuses_what_cannot_be(word: str) -> None:
    assert not Draft7Validator(SCHEMA).is_valid(merged(VALUES, REFUSED[word]))


def test_the_schema_refuses_two_homes_for_the_secret() -> None:
    both = {"secret": {"existing": "mine", "values": {"A": "b"}}}
    assert not Draft7Validator(SCHEMA).is_valid(merged(VALUES, both))


@pytest.mark.parametrize("case", CASES)
def test_a_pod_has_the_time_that_its_longest_stream_needs(case: str) -> None:
    drain = float(pairs(container(case)["env"])["POSTHOUSE_SERVER_DRAIN_TIMEOUT"])
    (_, before) = container(case)["lifecycle"]["preStop"]["exec"]["command"]
    long_enough(drain, pod(case)["terminationGracePeriodSeconds"] - int(before))


@pytest.mark.parametrize("case", CASES)
def test_probes_ask_what_posthouse_answers(case: str) -> None:
    ours = container(case)
    paths = {name: ours[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert {ours[name]["httpGet"]["port"] for name in paths} == {"http"}
    assert ours["ports"] == [{"name": "http", "containerPort": SERVER.port}]
    # A start may have to apply what the journal holds first (60 s at most), and to migrate.
    assert ours["startupProbe"]["periodSeconds"] * ours["startupProbe"]["failureThreshold"] > 120


@pytest.mark.parametrize("case", CASES)
def test_a_pod_has_no_rights_and_writes_to_its_volumes_only(case: str) -> None:
    spec, ours = pod(case), container(case)
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["fsGroup"]) == (UID, UID)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert ours["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {mount["name"]: mount["mountPath"] for mount in ours["volumeMounts"]}
    assert mounts["data"] == pairs(ours["env"])["POSTHOUSE_DATA"]
    assert mounts["tmp"] == "/tmp"  # noqa: S108  # the container's own
    volumes = {volume["name"] for volume in spec["volumes"]}
    claims = {claim["metadata"]["name"] for claim in one(case, "StatefulSet")["spec"]["volumeClaimTemplates"]}
    assert set(mounts) == volumes | claims
    assert claims == {"data"}


@pytest.mark.parametrize("case", CASES)
def test_variables_are_settings_and_the_cluster_adds_none(case: str) -> None:
    named = {name for name in pairs(container(case)["env"]) if name.startswith("POSTHOUSE_")}
    assert named <= VARIABLES
    # Kubernetes would set POSTHOUSE_PORT=tcp://... for a service of that name, and an unknown one besides.
    assert pod(case)["enableServiceLinks"] is False


@pytest.mark.parametrize("case", CASES)
def test_services_and_budget_find_the_pods(case: str) -> None:
    labels = one(case, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    selectors = [one(case, "StatefulSet")["spec"]["selector"]["matchLabels"]]
    for each in FOUND["cases"][case]:
        if each["kind"] == "Service":
            selectors.append(each["spec"]["selector"])
            assert each["spec"]["ports"][0]["targetPort"] == "http"
        if each["kind"] == "PodDisruptionBudget":
            selectors.append(each["spec"]["selector"]["matchLabels"])
    assert all(selector.items() <= labels.items() for selector in selectors)
    headless = one(case, "Service", one(case, "StatefulSet")["spec"]["serviceName"])
    assert headless["spec"]["clusterIP"] == "None"


def test_one_server_by_itself_and_a_budget_that_lets_a_node_be_emptied() -> None:
    assert one("default", "StatefulSet")["spec"]["replicas"] == 1
    assert one("default", "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    kinds = [each["kind"] for each in FOUND["cases"]["default"]]
    assert kinds == ["PodDisruptionBudget", "Service", "Service", "StatefulSet"]
    assert "PodDisruptionBudget" not in [each["kind"] for each in FOUND["cases"]["named secret, no budget"]]


def test_secrets_come_from_one_place() -> None:
    assert "envFrom" not in container("default")
    assert container("named secret, no budget")["envFrom"] == [{"secretRef": {"name": "mine"}}]
    made = one("everything", "Secret")
    assert container("everything")["envFrom"] == [{"secretRef": {"name": made["metadata"]["name"]}}]
    assert made["stringData"] == CASES["everything"]["secret"]["values"]


def test_settings_are_mounted_where_the_image_looks_for_them() -> None:
    made = one("everything", "ConfigMap")
    assert made["data"] == {"posthouse.toml": CASES["everything"]["config"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container("everything")["volumeMounts"]}
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert re.findall(r"^WORKDIR (.*)$", dockerfile, re.MULTILINE)[-1] == mounts["config"]


def test_the_ingress_collects_nothing_and_waits() -> None:
    made = one("everything", "Ingress")
    prefix = "nginx.ingress.kubernetes.io/"
    said = {name.removeprefix(prefix): value for name, value in made["metadata"]["annotations"].items()}
    assert (said["proxy-buffering"], said["proxy-request-buffering"], said["proxy-next-upstream"]) == ("off",) * 3
    assert float(said["proxy-read-timeout"]) >= LONGEST + WRITING
    (rule,) = made["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/v1", "/anthropic"]
    assert made["spec"]["tls"] == [{"hosts": ["posthouse.example"], "secretName": "tls"}]


def test_the_volume_holds_what_the_journal_may_become() -> None:
    (claim,) = one("default", "StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    (other,) = one("everything", "StatefulSet")["spec"]["volumeClaimTemplates"]
    assert other["spec"]["storageClassName"] == "fast"
