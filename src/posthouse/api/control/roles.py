"""Who may do what on the control plane: one table of routes and fields, and what is made of it.

`TABLE` has every route. A role that is not named there gets 403; so does a body with a field that the role may not
write. Fields that it may not read are left out of what it gets. A path such as `limits.rpm` is a field inside a field,
through lists too; `*` is any name; whatever is below a path that has none below it in the table goes with it. `WHOLE`:
all fields are alike. What the table does not know nobody but an admin gets to see.

Members are confined to their account and those below it; the others see the whole house. (tests/api/control/test_roles
holds routes and fields against this; docs/admin-api.md shows it.)
"""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from posthouse.accounts.limits import COUNTS, SPEND
from posthouse.api.control.parameters import PREFIX
from posthouse.core.caller import Role
from posthouse.core.errors import Forbidden

_LETTERS: Final[Mapping[str, Role]] = {"A": "admin", "B": "billing", "O": "operator", "M": "member"}
Fields = Mapping[str, str]
"""From a path to the letters of the roles."""
Tree = dict[str, "Tree"]
"""Names and what is below them; nothing below: everything."""


def fields(letters: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), letters)


def listed(one: Fields) -> dict[str, str]:
    return {f"data.{path}": letters for path, letters in one.items()} | {"next": "ABOM"}


def limits(counts: str, spend: str) -> dict[str, str]:
    found = {f"limits.{name}": counts for name in (*COUNTS, "models")}
    return {**found, f"limits.{SPEND}": spend}


class Permit(Struct, frozen=True):
    """What of a route which roles may: `roles` call it, `reads` of its answer, `writes` of its body."""

    roles: str
    reads: Fields
    writes: Fields = {}


WHOLE: Final = fields("ABOM", "*")

KEY: Final = {
    **fields("ABOM", "id name hint account account_name status models role created_at expires_at revoked_at"),
    **fields("ABOM", "defaults aliases strict scopes unpriced own_credential.accounts"),
    **fields("ABM", "budget budgets own_credential.fee_percent"),
    **limits("ABOM", "ABM"),
}
ACCOUNT: Final = {
    **fields("ABOM", "id name kind status models scopes unpriced created_at disabled_at path children"),
    **fields("ABO", "parent"),
    **fields("ABM", "budget budgets"),
    **limits("ABOM", "ABM"),
}
REQUEST: Final = {
    **fields("ABOM", "id created_at operation key account model_asked model provider deployment stream status"),
    **fields("ABOM", "error_code ended_by usage usage_source priced service_tier attempts ttft_ms duration_ms"),
    **fields("ABOM", "own_credential"),
    **fields("ABM", "cost currency price_id list_cost list_currency exchange_rate fee_percent"),
}
DETAIL: Final = {
    **REQUEST,
    **fields("ABO", "failed_attempts"),
    **fields("ABOM", "recorded"),
    **fields("ABM", "hold entries"),
}
_WHOSE: Final = ("key", "account", "above")
EXPLAINED: Final = {
    **fields("ABO", "id created_at operation model_asked status error_code ended_by deployment strategy left_out"),
    **fields("ABO", "own_credential attempts duration_ms recomputed"),
    **{
        f"candidates.{name}": "ABO"
        for name in "deployment credential place after rank weight draw score trouble outcome why".split()
    },
    **fields("AB", "candidates.expected_cost candidates.currency hold price"),
    **{f"limits.{whose}.{path}": "ABO" for whose in _WHOSE for path in ("id", "name", *limits("", ""))},
    **{f"limits.{whose}.{path}": "AB" for whose in _WHOSE for path in (f"limits.{SPEND}", "budget", "budgets")},
}
USAGE: Final = {
    **fields("ABOM", "group key model hour day provider deployment account requests input_tokens cached_input_tokens"),
    **fields("ABOM", "output_tokens images audio_ms characters searches web_searches file_searches sessions by_source"),
    **fields("ABM", "cost currency"),
}
NEW_KEY: Final = {
    **fields("AM", "name account models scopes expires_at defaults aliases strict budget budgets"),
    **fields("A", "role unpriced own_credential"),
    **limits("AM", "AM"),
}
KEY_CHANGES: Final = {
    **fields("A", "name models scopes expires_at role defaults aliases strict own_credential"),
    **fields("AB", "budget budgets unpriced"),
    **limits("AO", "AB"),
}
NEW_ACCOUNT: Final = {**fields("A", "name parent kind models scopes unpriced budget budgets"), **limits("A", "A")}
ACCOUNT_CHANGES: Final = {
    **fields("A", "name parent kind models scopes disabled"),
    **fields("AB", "budget budgets unpriced"),
    **limits("AO", "AB"),
}

_ROUTES: Final[Mapping[str, Permit]] = {
    "POST /keys": Permit("AM", {**KEY, "key": "AM"}, NEW_KEY),
    "GET /keys": Permit("ABOM", listed(KEY)),
    "GET /keys/{key_id}": Permit("ABOM", KEY),
    "PATCH /keys/{key_id}": Permit("ABO", KEY, KEY_CHANGES),
    "DELETE /keys/{key_id}": Permit("AM", KEY),
    "POST /accounts": Permit("A", ACCOUNT, NEW_ACCOUNT),
    "GET /accounts": Permit("ABOM", listed(ACCOUNT)),
    "GET /accounts/{account}": Permit("ABOM", ACCOUNT),
    "PATCH /accounts/{account}": Permit("ABO", ACCOUNT, ACCOUNT_CHANGES),
    "GET /accounts/{account}/statements/{month}": Permit("ABM", WHOLE),
    "GET /accounts/{account}/corrections": Permit("ABM", WHOLE),
    "POST /accounts/{account}/corrections": Permit("AB", WHOLE, WHOLE),
    "GET /accounts/{account}/balance": Permit("ABM", WHOLE),
    "GET /accounts/{account}/credits": Permit("ABM", WHOLE),
    "POST /accounts/{account}/credits": Permit("AB", WHOLE, WHOLE),
    "POST /redeem": Permit("ABM", WHOLE, {**fields("ABM", "code"), **fields("AB", "account")}),
    "POST /codes": Permit("AB", WHOLE, WHOLE),
    "GET /codes": Permit("AB", WHOLE),
    "GET /codes/batches": Permit("AB", WHOLE),
    "DELETE /codes/batches/{batch}": Permit("AB", WHOLE),
    "POST /invitations": Permit("A", WHOLE, WHOLE),
    "GET /invitations": Permit("AB", WHOLE),
    "DELETE /invitations/{invitation}": Permit("A", WHOLE),
    "GET /requests": Permit("ABOM", listed(REQUEST)),
    "GET /requests/{request_id}": Permit("ABOM", DETAIL),
    "GET /requests/{request_id}/explain": Permit("ABO", EXPLAINED),
    "GET /usage": Permit("ABOM", listed(USAGE)),
    "GET /ledger": Permit("AB", WHOLE),
    "GET /ledger/verify": Permit("AB", WHOLE),
    "POST /ledger/rebuild": Permit("AB", WHOLE),
    "GET /models": Permit("AO", WHOLE),
    "GET /providers": Permit("AO", WHOLE),
    "POST /providers/{name}/test": Permit("AO", WHOLE),
    "GET /prices": Permit("AB", WHOLE),
    "GET /prices/explain": Permit("AB", WHOLE),
    "POST /prices": Permit("AB", WHOLE, WHOLE),
    "GET /prices/rows": Permit("AB", WHOLE),
    "DELETE /prices/rows/{id}": Permit("AB", WHOLE),
    "GET /prices/snapshots/{id}": Permit("AB", WHOLE),
    "POST /prices/update": Permit("AB", WHOLE, WHOLE),
    "GET /config": Permit("A", WHOLE),
    "GET /config/check": Permit("AO", WHOLE),
    "POST /config/reload": Permit("AO", WHOLE),
    "GET /openapi.json": Permit("ABOM", WHOLE),
}
TABLE: Final[Mapping[tuple[str, str], Permit]] = {
    (route.partition(" ")[0], PREFIX + route.partition(" ")[2]): permit for route, permit in _ROUTES.items()
}
CONFINED: Final[frozenset[Role]] = frozenset({"member"})
"""Roles that see their own account and what is below it, and nothing else."""


def allowed(letters: str) -> list[Role]:
    return [role for letter, role in _LETTERS.items() if letter in letters]


def tree_of(paths: Fields, role: Role | None = None) -> Tree:
    """The fields that a role may; all there are without one."""
    tree: Tree = {}
    for path, letters in paths.items():
        if role is None or role in allowed(letters):
            at = tree
            for name in path.split("."):
                at = at.setdefault(name, {})
    return tree


class Reach(Struct, frozen=True):
    """What one role may of one route. `reads` None: everything. `writes`, `known`: of a body, by it and by anybody."""

    reads: Tree | None
    writes: Tree
    known: Tree


def _reach(permit: Permit, role: Role) -> Reach:
    reads = None if permit.reads is WHOLE or role == "admin" else tree_of(permit.reads, role)
    return Reach(reads, tree_of(permit.writes, role), tree_of(permit.writes))


_REACHES: Final[Mapping[tuple[str, str, Role], Reach]] = {
    (*route, role): _reach(permit, role) for route, permit in TABLE.items() for role in allowed(permit.roles)
}


def reach_of(method: str, path: str, role: Role) -> Reach:
    """Forbidden where the role may not call the route."""
    reach = _REACHES.get((method, path, role))
    if reach is None:
        raise Forbidden(f"The role {role} may not do this.", code="role_not_allowed")
    return reach


def check_writes(body: Any, reach: Reach) -> None:
    """Forbidden, naming the field, where the body has one that the role may not write. What nobody may write, the
    route's own form complains of."""
    if isinstance(body, dict):
        _check(body, reach.writes, reach.known, "")


def _check(body: Mapping[str, Any], may: Tree, known: Tree, place: str) -> None:
    if "*" in may or not known:
        return
    for name, value in body.items():
        if name not in known:
            continue
        path = f"{place}{name}"
        below = known[name]
        if name not in may:
            raise Forbidden(f"This role may not write `{path}`.", code="field_not_allowed", param=path)
        if below and isinstance(value, dict):
            _check(value, may[name], below, f"{path}.")
        elif below and may[name] != below:  # null, which takes all of them away
            raise Forbidden(f"This role may not write all of `{path}`.", code="field_not_allowed", param=path)


def sifted(answer: Any, tree: Tree) -> Any:
    """An answer with nothing in it but what the tree has."""
    if not tree:
        return answer
    if isinstance(answer, list):
        return [sifted(one, tree) for one in answer]
    if not isinstance(answer, dict):
        return answer
    if "*" in tree:
        return {name: sifted(value, tree["*"]) for name, value in answer.items()}
    return {name: sifted(value, tree[name]) for name, value in answer.items() if name in tree}
