"""Other gateways, measured beside Posthouse in the same run (BENCH_PEERS=1): LiteLLM's proxy and nginx.

LiteLLM is installed by its name into an environment of its own, which stays for the next run; it runs with one worker,
a master key, prices, and without its database. nginx shows what the kernel and a C event loop cost at least: it checks
no key and counts nothing. It is taken from PATH, else its Debian package is unpacked (not installed).
"""

import os
import re
import shutil
import sys
from pathlib import Path

from bench import bodies
from bench.gateways import Gateway, World, clean_environment, run_tool, start
from bench.processes import Command, free_port
from bench.reactor import BenchError

INSTALL_SECONDS = 1_200.0

LITELLM_MODEL = """\
  - model_name: {model}
    litellm_params:
      model: openai/{model}
      api_base: http://127.0.0.1:{upstream}/v1
      api_key: upstream-credential-1
      input_cost_per_token: 0.00000015
      output_cost_per_token: 0.0000006
"""
LITELLM_KEY = "sk-bench-1234567890"

NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_body_buffer_size 128k;
    keepalive_requests 1000000;
    upstream mock {{
        server 127.0.0.1:{upstream};
        keepalive 4096;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""


def start_litellm(world: World, tools: Path) -> Gateway:
    """Install where needed, and start; raises BenchError when that does not work."""
    place = Path(os.environ.get("BENCH_LITELLM") or tools / "litellm")
    executable = place / "bin" / "litellm"
    if not executable.exists():
        print("installing LiteLLM's proxy (some minutes, once)...", file=sys.stderr, flush=True)
        run_tool([sys.executable, "-m", "venv", str(place)], INSTALL_SECONDS)
        pip = [str(place / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        run_tool([*pip, "litellm[proxy]"], INSTALL_SECONDS)
    code = "from importlib.metadata import version; print(version('litellm'))"
    version = run_tool([str(place / "bin" / "python"), "-c", code], 60).strip()
    folder = world.folder / "litellm"
    folder.mkdir()
    models = "".join(LITELLM_MODEL.format(model=name, upstream=world.upstream) for name in bodies.MODELS)
    settings = f"general_settings:\n  master_key: {LITELLM_KEY}\nlitellm_settings:\n  telemetry: false\n"
    (folder / "config.yaml").write_text(f"model_list:\n{models}{settings}")
    port = free_port()
    arguments = [str(executable), "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    more = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
    command = Command(
        [*arguments, "--num_workers", "1"], clean_environment(folder, more), folder, folder / "output.log"
    )
    running, seconds = start(command, world, port, LITELLM_KEY)
    return Gateway("litellm", version, port, LITELLM_KEY, running, exact=False, answered=1, cold_starts=[seconds])


def start_nginx(world: World, tools: Path) -> Gateway:
    """Find or unpack, and start; raises BenchError when there is none to be had."""
    executable = _find_nginx(tools)
    folder = world.folder / "nginx"
    folder.mkdir()
    folder.chmod(0o755)
    port = free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, upstream=world.upstream, port=port))
    arguments = [executable, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "start.log")]
    if os.geteuid() == 0:
        arguments += ["-g", "user root;"]  # else its worker may not write into our temporary folder
    command = Command(arguments, clean_environment(folder, {}), folder, folder / "output.log")
    running, seconds = start(command, world, port, "none")
    found = re.search(r"nginx/(\S+)", run_tool([executable, "-v"], 10))
    version = found.group(1) if found else "?"
    return Gateway("nginx", version, port, "none", running, answered=1, cold_starts=[seconds])


def _find_nginx(tools: Path) -> str:
    unpacked = tools / "nginx" / "usr" / "sbin" / "nginx"
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found:
        return found
    if not unpacked.exists():
        if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
            raise BenchError("nginx is not installed, and there is no apt to fetch it with")
        folder = tools / "nginx"
        folder.mkdir(parents=True, exist_ok=True)
        run_tool(["apt-get", "-q", "download", "nginx"], 300, folder)
        for package in folder.glob("*.deb"):
            run_tool(["dpkg-deb", "-x", str(package), str(folder)], 60)
    run_tool([str(unpacked), "-v"], 10)
    return str(unpacked)
