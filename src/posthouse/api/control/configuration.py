"""`/admin/api/config`: the settings that this house runs with, where each came from, what is doubtful about them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from posthouse.api.control.parameters import PREFIX, In, Word
from posthouse.core.errors import ConfigError, InvalidRequest, NotFound
from posthouse.gateway.configuration import reloaded_to_json
from posthouse.settings.forms import explanation_to_json, problem_to_json

router = APIRouter(prefix=PREFIX, tags=["configuration"])


@router.get("/config")
def explain(
    services: In,
    key: Annotated[Word | None, Query(description="`server.port`, `server`, `providers.NAME`; all without.")] = None,
) -> dict[str, Any]:
    """Values and their sources, secrets masked; and which of them a restart would bring into force."""
    configuration = services.configuration
    try:
        found = configuration.loaded.explain(key or "")
    except ConfigError as error:
        raise NotFound(error.message, param="key") from None
    waiting = set(configuration.needs_restart())
    data = [{**explanation_to_json(one), "needs_restart": one.key in waiting} for one in found]
    return {"data": data, "next": None}


@router.get("/config/check")
def check(services: In) -> dict[str, Any]:
    """What is doubtful. A running house has no errors, since it would not have started; warnings it may have."""
    problems = services.configuration.loaded.check(services.registry.by_name)
    return {"ok": not any(one.level == "error" for one in problems), "problems": [problem_to_json(p) for p in problems]}


@router.post("/config/reload")
async def reload(services: In) -> dict[str, Any]:
    """Reads all settings again. Providers, models, routes and prices hold at once; streams under way are not dropped.
    Where anything is wrong, nothing changes, and the answer is a 400 with a line for each problem."""
    try:
        return reloaded_to_json(await services.configuration.reload())
    except ConfigError as error:
        message = f"Nothing was changed:\n{error.message}"
        raise InvalidRequest(message, param=error.param, code="invalid_configuration") from None
