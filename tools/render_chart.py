"""Renders deploy/helm/posthouse with Helm into tests/deploy/rendered.json, which the tests read without Helm.

    python tools/render_chart.py            # write it again, after a change of the chart
    python tools/render_chart.py --check    # 1 where what Helm says is not what the file says

Helm is the command `helm` (3 or newer), or else the package helm-python-sdk, which carries its library. The tests need
neither: they hold that the file belongs to the chart as it is.
"""

import hashlib
import importlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "deploy" / "helm" / "posthouse"
RENDERED = ROOT / "tests" / "deploy" / "rendered.json"
RELEASE = "house"

CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "everything": {
        "image": {"repository": "registry.example/posthouse", "tag": "1.2.3"},
        "imagePullSecrets": [{"name": "registry"}],
        "config": '[log]\nlevel = "debug"\n',
        "secret": {"values": {"POSTHOUSE_ADMIN_KEY": "an-admin-key-of-at-least-32-characters", "OPENAI_API_KEY": "k"}},
        "extraEnv": [{"name": "POSTHOUSE_LOG_FORMAT", "value": "json"}],
        "persistence": {"size": "5Gi", "storageClass": "fast"},
        "drainSeconds": 1200,
        "preStopSeconds": 20,
        "service": {"type": "LoadBalancer", "port": 80, "annotations": {"a": "b"}},
        "ingress": {"enabled": True, "paths": ["/v1", "/anthropic"], "tlsSecret": "tls"},
        "podAnnotations": {"c": "d"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "gateway", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
    },
    "named secret, no budget": {"secret": {"existing": "mine"}, "podDisruptionBudget": {"enabled": False}},
}
# What the schema must refuse, and a word of the complaint.
REFUSED: dict[str, dict[str, Any]] = {
    "replicas": {"replicas": -1},
    "drainSeconds": {"drainSeconds": "10m"},
    "size": {"persistence": {"size": "big"}},
    "nonsense": {"nonsense": True},
}


def digest() -> str:
    """Of every file of the chart, names and contents."""
    found = hashlib.sha256()
    for path in sorted(path for path in CHART.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(CHART).as_posix()}\0{len(path.read_bytes())}\0".encode() + path.read_bytes())
    return found.hexdigest()


def available() -> bool:
    return shutil.which("helm") is not None or importlib.util.find_spec("helm_python") is not None


def template(values: dict[str, Any]) -> str:
    """What Helm makes of the chart with these values; RuntimeError where it refuses."""
    if helm := shutil.which("helm"):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(values, file)
            file.flush()
            command = [helm, "template", RELEASE, str(CHART), "--values", file.name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout
    library = importlib.import_module("helm_python.chart")
    try:
        with library.Chart.load(str(CHART)) as chart:
            made: dict[str, str] = chart.render(values=values, name=RELEASE, namespace="default")
    except Exception as error:
        raise RuntimeError(str(error)) from error
    return "\n---\n".join(text for name, text in sorted(made.items()) if name.endswith(".yaml"))


def render() -> dict[str, Any]:
    cases = {}
    for name, values in CASES.items():
        objects = [one for one in yaml.safe_load_all(template(values)) if one]
        cases[name] = sorted(objects, key=lambda one: (one["kind"], one["metadata"]["name"]))
    for word, values in REFUSED.items():
        try:
            template(values)
        except RuntimeError as error:
            if word not in str(error):
                raise SystemExit(f"the chart refuses {values}, but for another reason: {error}") from None
        else:
            raise SystemExit(f"the chart takes {values}")
    return {"chart": digest(), "cases": cases}


def main() -> int:
    if not available():
        print("neither the command helm nor the package helm-python-sdk is there", file=sys.stderr)
        return 2
    text = json.dumps(render(), indent=1) + "\n"
    if "--check" in sys.argv:
        same = RENDERED.read_text() == text
        print("the same" if same else "tests/deploy/rendered.json is not what Helm says", file=sys.stderr)
        return 0 if same else 1
    RENDERED.write_text(text)
    print(f"{RENDERED.relative_to(ROOT)}: {len(text)} bytes", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
