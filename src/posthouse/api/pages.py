"""What people and probes open: `/`, `/healthz`, `/readyz`, `/metrics`."""

import html
from collections.abc import Callable
from typing import Final

from posthouse import __version__
from posthouse.api.exchange import Exchange, Route
from posthouse.api.server import JSON, FrontDoor
from posthouse.routing.catalog import Catalog
from posthouse.telemetry import Telemetry

_HTML: Final = (
    b"content-type: text/html; charset=utf-8\r\n"
    b"content-security-policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
    b"x-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\n"
)
_TEXT: Final = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"
_MODELS_SHOWN: Final = 60

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Posthouse</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; }}
code, pre {{ font: 14px/1.5 ui-monospace, monospace; }}
pre {{ padding: 1rem; overflow-x: auto; border: 1px solid #8886; border-radius: 6px; }}
li {{ display: inline-block; margin: 0 .6rem .3rem 0; padding: 0 .5rem; border: 1px solid #8886; border-radius: 4px; }}
ul {{ padding: 0; }}
.state {{ font-weight: 600; }}
</style>
<h1>Posthouse <span lang="zh">驿站</span></h1>
<p><span class="state">{state}</span> &middot; version {version}</p>
<h2>Use it</h2>
<pre>from openai import OpenAI
client = OpenAI(base_url="{base}/v1", api_key="sk-ph-...")
print(client.chat.completions.create(model="{model}", messages=[{{"role": "user", "content": "Hello"}}]))</pre>
<p>A key: <code>posthouse keys create --name me</code>. Any OpenAI client works: give it this address and the key.</p>
<h2>Models</h2>
<ul>{models}</ul>
<p>{more}</p>
</html>
"""


class Pages:
    """`ready` says why the house cannot serve, None where it can."""

    def __init__(
        self, door: FrontDoor, catalog: Catalog, telemetry: Telemetry, ready: Callable[[], str | None]
    ) -> None:
        self._door = door
        self._catalog = catalog
        self._telemetry = telemetry
        self._ready = ready

    def mount(self) -> None:
        for path, handler in (
            ("/", self.front),
            ("/healthz", self.healthz),
            ("/readyz", self.readyz),
            ("/metrics", self.metrics),
        ):
            self._door.add(path, {b"GET": Route(path, handler, authenticated=False)})

    async def front(self, exchange: Exchange) -> None:
        listed = self._catalog.listed()
        shown = "".join(f"<li><code>{html.escape(model.id)}</code></li>" for model in listed[:_MODELS_SHOWN])
        rest = len(listed) - _MODELS_SHOWN
        problem = self._ready()
        host = exchange.headers.get(b"host", b"127.0.0.1:8700").decode("latin-1")
        body = _PAGE.format(
            state="Up and serving." if problem is None else f"Up, but not serving: {html.escape(problem)}",
            version=__version__,
            base=html.escape(f"http://{host[:200]}"),
            model=html.escape(listed[0].id if listed else "MODEL"),
            models=shown or "<li>none yet</li>",
            more=f"and {rest} more: GET /v1/models" if rest > 0 else "",
        )
        exchange.respond(200, _HTML + self._door.common_head(exchange), body.encode())

    async def healthz(self, exchange: Exchange) -> None:
        exchange.respond(200, JSON + self._door.common_head(exchange), b'{"status":"ok"}')

    async def readyz(self, exchange: Exchange) -> None:
        problem = self._ready()
        if problem is None:
            exchange.respond(200, JSON + self._door.common_head(exchange), b'{"status":"ready"}')
        else:
            body = b'{"status":"not ready","reason":"%b"}' % problem.replace('"', "'").encode()
            exchange.respond(503, JSON + self._door.common_head(exchange), body)

    async def metrics(self, exchange: Exchange) -> None:
        exchange.respond(200, _TEXT + self._door.common_head(exchange), self._telemetry.render())
