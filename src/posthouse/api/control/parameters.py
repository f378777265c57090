"""What the routes of the control plane take: the rooms, a JSON body, and the words of a query.

Bodies are read here and not by FastAPI: a body is JSON whatever its content type says, what is no JSON is a 400 that
says where, and the rooms' own forms say what is wrong inside (`accounts/forms.py`).
"""

import re
from typing import Annotated, Any, Final

import msgspec
from fastapi import Depends, Query, Request
from pydantic import AfterValidator

from posthouse.api.services import Services
from posthouse.billing.forms import span_of
from posthouse.billing.span import Span
from posthouse.billing.store import Page
from posthouse.core.errors import InvalidRequest

PREFIX: Final = "/admin/api"  # each router has it, so that a route knows its whole path
MAX_PAGE: Final = 1000
MAX_WORD: Final = 512
# What no id or name of ours holds, and what databases refuse to compare with.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_WAIT_SECONDS: Final = 1.0


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def settled_services(services: Annotated[Services, Depends(services_of)]) -> Services:
    """For records: whoever has seen the end of an answer finds it here. Blocks; FastAPI runs it in a thread."""
    services.journal.wait_applied(_WAIT_SECONDS)  # where the database is slower, an older state is better than none
    return services


async def form_of(request: Request) -> Any:
    """The body as JSON; InvalidRequest where it is none."""
    body = await request.body()
    if not body:
        raise InvalidRequest("A JSON body is required.")
    try:
        return msgspec.json.decode(body)
    except UnicodeDecodeError:
        raise InvalidRequest("The body is not UTF-8.") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not JSON: {error}.") from None


def only_known_query(request: Request) -> None:
    """A misspelt filter must not answer with everything: what a route does not document is refused."""
    if not request.url.query:
        return
    route = request.scope["route"]
    operation = request.app.openapi()["paths"].get(route.path, {}).get(request.method.lower(), {})
    known = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
    for name in request.query_params:
        if name not in known:
            listed = f"known are {', '.join(known)}" if known else "none is known here"
            shown = printable(name)[:200]
            raise InvalidRequest(f"Unknown query parameter `{shown}`; {listed}.", param=shown)


def printable(text: str) -> str:
    return _UNPRINTABLE.sub("?", text)


def is_word(text: str) -> bool:
    """Whether `text` can be an id, a name or a cursor at all."""
    return 0 < len(text) <= MAX_WORD and not _UNPRINTABLE.search(text)


def _word(text: str) -> str:
    if not is_word(text):
        raise ValueError(f"must be 1 to {MAX_WORD} printable characters")
    return text


Word = Annotated[str, AfterValidator(_word)]


def page_of(
    cursor: Annotated[Word | None, Query(description="The `next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Rows of a page at most.")] = 100,
) -> Page:
    return Page(limit, cursor)


def between(
    start: Annotated[
        Word | None,
        Query(
            alias="from", description="First instant: a day, a time (ISO 8601, UTC where no zone is said) or seconds."
        ),
    ] = None,
    to: Annotated[Word | None, Query(description="The instant after the last one, written as `from`.")] = None,
) -> Span:
    return span_of(start, to)


In = Annotated[Services, Depends(services_of)]
Settled = Annotated[Services, Depends(settled_services)]
Form = Annotated[Any, Depends(form_of)]
Paged = Annotated[Page, Depends(page_of)]
Between = Annotated[Span, Depends(between)]
