"""The OpenAPI document: it describes every route, and docs/admin-api.md tells of each."""

import re
from pathlib import Path
from typing import Any, Final

from posthouse.accounts import forms
from posthouse.api.control import schemas
from posthouse.core.errors import InvalidRequest
from tests.api.control.conftest import Scene

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = (ROOT / "docs" / "admin-api.md").read_text(encoding="utf-8")


def operations(scene: Scene) -> dict[tuple[str, str], dict[str, Any]]:
    document = scene.get("/openapi.json")
    assert document["openapi"].startswith("3.1")
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_the_document_tells_of_every_route_what_it_does(scene: Scene) -> None:
    assert [route for route, operation in operations(scene).items() if not operation.get("description")] == []


def test_every_route_and_no_other_is_documented(scene: Scene) -> None:
    documented = set(re.findall(r"^### `([A-Z]+) (/admin/api/\S+)`$", PAGE, re.MULTILINE))
    described = {(method, path) for method, path in operations(scene)} | {("GET", "/admin/api/openapi.json")}
    assert documented == described


def test_every_query_parameter_is_documented_with_its_route(scene: Scene) -> None:
    sections = {part.split("`", 2)[1]: part for part in PAGE.split("\n### ")[1:]}
    for (method, path), operation in operations(scene).items():
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query" and parameter["name"] not in ("cursor", "limit"):
                assert f"`{parameter['name']}`" in sections[f"{method} {path}"], (path, parameter["name"])


def test_every_body_is_described(scene: Scene) -> None:
    with_body = {route for route, operation in operations(scene).items() if "requestBody" in operation}
    assert with_body == {
        ("POST", "/admin/api/keys"),
        ("PATCH", "/admin/api/keys/{key_id}"),
        ("POST", "/admin/api/accounts"),
        ("PATCH", "/admin/api/accounts/{account}"),
        ("POST", "/admin/api/accounts/{account}/corrections"),
        ("POST", "/admin/api/accounts/{account}/credits"),
        ("POST", "/admin/api/redeem"),
        ("POST", "/admin/api/codes"),
        ("POST", "/admin/api/invitations"),
        ("POST", "/admin/api/prices"),
        ("POST", "/admin/api/prices/update"),
    }


def test_the_bodies_have_the_members_that_the_forms_know() -> None:
    for schema, read in (
        (schemas.NEW_KEY, forms.new_key_of),
        (schemas.KEY_CHANGES, forms.key_changes_of),
        (schemas.NEW_ACCOUNT, forms.new_account_of),
        (schemas.ACCOUNT_CHANGES, forms.account_changes_of),
    ):
        try:
            read({"no such member": 1})
        except InvalidRequest as error:
            listed = error.message.partition("known are ")[2].rstrip(".").split(", ")
        assert sorted(schema["properties"]) == sorted(listed)
