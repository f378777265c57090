"""`/admin/api/config`: the settings that this house runs with, where each came from, what is doubtful about them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from posthouse.api.control.parameters import PREFIX, In, Word
from posthouse.core.errors import ConfigError, NotFound
from posthouse.settings.forms import explanation_to_json, problem_to_json

router = APIRouter(prefix=PREFIX, tags=["configuration"])


@router.get("/config")
def explain(
    services: In,
    key: Annotated[Word | None, Query(description="`server.port`, `server`, `providers.NAME`; all without.")] = None,
) -> dict[str, Any]:
    """Values and their sources, secrets masked."""
    try:
        found = services.loaded.explain(key or "")
    except ConfigError as error:
        raise NotFound(error.message, param="key") from None
    return {"data": [explanation_to_json(one) for one in found], "next": None}


@router.get("/config/check")
def check(services: In) -> dict[str, Any]:
    """What is doubtful. A running house has no errors, since it would not have started; warnings it may have."""
    problems = services.loaded.check(services.registry.by_name)
    return {"ok": not any(one.level == "error" for one in problems), "problems": [problem_to_json(p) for p in problems]}
