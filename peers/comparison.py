"""What the upstream was asked through Posthouse, beside what it was asked directly."""

import json
import re
from typing import Any, Final

from peers.scripted.server import Visit

# By the path, or the verb at its end: the last word of a mark where the provider is asked in the client's own words.
NATIVE: Final = {
    "/v1/chat/completions": "chatcompletions",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
    "/v1/completions": "completions",
    "generateContent": "generatecontent",
    "streamGenerateContent": "generatecontent",
}
VOLATILE: Final = re.compile(
    r"(?<=_)(?:direct|chatcompletions|responses|messages|completions|generatecontent)(?=[]_])|c3RhdGUgb2Yg[\w+/=]+|(?<=peer)\d+|(?<=call_)[0-9a-f]{20,}"
)


def compared(visits: list[Visit]) -> list[str]:
    """Where client and provider speak the same, the provider is asked the same through us as directly, member by
    member. A mark tells both apart from the rest, and its last word from each other."""
    found: dict[tuple[str, str], dict[str, list[Any]]] = {}
    for visit in visits:
        twin, _, where = visit.mark.rpartition("_")
        if twin and where in ("direct", NATIVE.get(visit.path.partition("?")[0].rpartition(":")[2], "")):
            asked = found.setdefault((twin, visit.path), {}).setdefault(where, [])
            essence = essence_of(visit)
            if essence not in asked:
                asked.append(essence)
    return [
        f"{path} was not asked the same in {twin}: {sides['direct']} directly, {others} through us"
        for (twin, path), sides in found.items()
        for where, others in sides.items()
        if where != "direct" and "direct" in sides and others != sides["direct"]
    ]


def essence_of(visit: Visit) -> Any:
    """A request without what is never the same (the place in marks, also within states; numbers of answers) and without
    what a gateway is there to change: what a stream reports of itself."""
    body = json.loads(VOLATILE.sub("", json.dumps(visit.body)))
    if body.get("stream_options"):
        del body["stream_options"]
    kept = {name: visit.headers.get(name) for name in ("anthropic-version", "anthropic-beta")}
    return body, kept
