"""`posthouse explain`: why a request went where it went."""

import time
from typing import Annotated, Any

import typer

from posthouse.billing import store
from posthouse.billing.store import RequestDetail
from posthouse.cli.market import visit
from posthouse.cli.options import AsJson, Config, Data, shown_budgets
from posthouse.cli.output import cell, reporting, say, show_json, table
from posthouse.cli.workbench import Market, price_book, settled_books
from posthouse.core.errors import NotFound
from posthouse.gateway.explain import Sources, explained_to_json, limits_of

_MAX_ID = 128


def explain(
    request_id: Annotated[str, typer.Argument(help="The `x-request-id` of its answer.", metavar="REQUEST_ID")],
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Say why a request went where it went: every deployment that was considered, the attempts, the price, the
    limits."""
    with reporting():
        with settled_books(config, data) as books:
            detail: RequestDetail | None = None
            if 0 < len(request_id) <= _MAX_ID and request_id.isprintable():
                with books.database.read() as connection:
                    detail = store.request_detail(connection, request_id)
            if detail is None:
                raise NotFound(f"There is no record of a request {request_id[:_MAX_ID]!r}.")
            limits = limits_of(detail, books.directory(), time.time())
        found = detail

        async def explained(market: Market) -> dict[str, Any]:
            prices = price_book(market.loaded)
            return explained_to_json(found, Sources(market.offers, prices, limits))

        shown = visit(explained, config, data)
    if as_json:
        show_json(shown)
    else:
        say(_text(shown))


def _text(shown: dict[str, Any]) -> str:
    ended = f"{shown['status']}" + (f" {shown['error_code']}" if shown["error_code"] else "")
    parts = [
        f"{shown['id']}: {shown['operation']} of {shown['model_asked']}, {shown['created_at']}",
        f"ended with {ended} after {shown['duration_ms']} ms, by {shown['deployment'] or 'nobody'}",
    ]
    if shown["own_credential"]:
        parts.append("Its caller brought a credential of its own: it is charged a part of the price, or nothing.")
    if shown["candidates"]:
        columns = ("place", "deployment", "credential", "figure", "outcome", "why")
        rows = [[cell({**one, "figure": _figure(one)}[name]) for name in columns] for one in shown["candidates"]]
        more = f"\nand {shown['left_out']} more" if shown["left_out"] else ""
        parts.append(f"Considered (strategy {shown['strategy']}):\n{table(columns, rows)}{more}")
    else:
        parts.append("It was refused before a deployment was considered.")
    if shown["attempts"]:
        heads = ("deployment", "credential", "at_ms", "duration_ms", "kind", "status", "message")
        tried = [[cell(one[name]) for name in heads] for one in shown["attempts"]]
        parts.append(f"Attempts:\n{table(heads, tried)}")
    hold, price = shown["hold"], shown["price"]
    if hold is not None:
        held = "nothing (no price)" if hold["amount"] is None else f"{hold['amount']} {hold['currency']}"
        parts.append(f"Held: {held}; {hold['state']}, charged {cell(hold['charged'])}")
    if price is not None:
        steps = "\n".join(
            f"  {'->' if one['taken'] else '  '} {one['place']}: {one['detail']}" for one in price["steps"]
        )
        verdict = {True: ", as charged", False: f", but {price['charged']} was charged: prices have changed"}
        cost = "unknown" if price["cost"] is None else f"{price['cost']} {price['currency']}"
        parts.append(f"Price at the time, by the settings of now: {cost}{verdict.get(price['agrees'], '')}\n{steps}")
    now = shown["limits"]
    above = [("account above", bounds) for bounds in now["above"]]
    for name, bounds in [("key", now["key"]), ("account", now["account"]), *above]:
        if bounds is not None:
            limits, budgets = cell(bounds["limits"]), cell(shown_budgets(bounds["budgets"]))
            parts.append(f"The {name} {bounds['name']} now: limits {limits}, budgets {budgets}")
    return "\n".join(parts)


def _figure(one: dict[str, Any]) -> str:
    """What the strategy went by."""
    if one["expected_cost"] is not None:
        return f"{one['expected_cost']} {one['currency']}"
    if one["score"] is not None:
        return f"{one['score']:g} s"
    return "" if one["draw"] is None else f"drawn {one['draw']:.3f}"
