"""Providers and models as JSON: what the admin API answers and what `--json` prints. Credentials are never in it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from posthouse.providers.prepare import wires_of
from posthouse.routing.catalog import Catalog
from posthouse.routing.check import ProviderCheck
from posthouse.routing.health import Place, Trouble
from posthouse.routing.model import Candidate, Listed, Offer
from posthouse.settings.secret import mask_url

Report = Mapping[Place, Trouble]  # as `Health.report` gives it


def offer_to_json(offer: Offer) -> dict[str, Any]:
    """What is configured. `models` null: whatever the provider's own list says."""
    account = offer.account
    row = account.row
    return {
        "name": account.name,
        "type": row.name,
        "title": row.title,
        "base_url": None if row.transport is not None else mask_url(account.base_url),
        "credentials": 0 if account.credential is None else 1 + len(offer.others),
        "credential": "set" if account.credential is not None else "not needed" if row.auth == "none" else "missing",
        "proxy": None if account.proxy is None else mask_url(account.proxy),
        "wires": list(wires_of(account)),
        "models": None if offer.models is None else [model.name for model in offer.models],
        "priority": offer.priority,
        "weight": offer.weight,
        "on_disconnect": account.on_disconnect,
        "passthrough": account.passthrough,
    }


def provider_to_json(offer: Offer, catalog: Catalog, report: Report) -> dict[str, Any]:
    """An offer and how it does: `ok`, `cooling` (some of its models fail), `unlisted` (its list could not be had), or
    `idle` (it serves no model)."""
    name = offer.account.name
    served = [c.deployment.id for c in catalog.deployments() if c.deployment.account.name == name]
    problem = catalog.problems.get(name)
    cooling = [
        {**place._asdict(), "credential": place.credential or None, **trouble_to_json(trouble)}
        for place, trouble in sorted(report.items())
        if place.deployment in served and trouble.state != "failing"
    ]
    state = "cooling" if cooling else "unlisted" if problem else "ok" if served else "idle"
    return {**offer_to_json(offer), "state": state, "problem": problem, "deployments": len(served), "cooling": cooling}


def model_to_json(listed: Listed, catalog: Catalog, report: Report) -> dict[str, Any]:
    """A public name and who serves it, in the order of preference."""
    return {
        "id": listed.id,
        "owned_by": listed.owned_by,
        "candidates": [candidate_to_json(candidate, report) for candidate in catalog.candidates(listed.id)],
    }


def candidate_to_json(candidate: Candidate, report: Report) -> dict[str, Any]:
    """`troubles` holds the operations that failed since they last answered. `credential` is the number of the one that
    is used, null where the account has one only."""
    deployment = candidate.deployment
    mine = [
        (place.operation, trouble)
        for place, trouble in sorted(report.items())
        if place.deployment == deployment.id and place.credential in (0, candidate.credential)
    ]
    return {
        "deployment": deployment.id,
        "credential": candidate.credential or None,
        "provider": deployment.account.name,
        "upstream_model": deployment.upstream_model,
        "rank": list(candidate.rank),
        "weight": candidate.weight,
        "after": candidate.after,
        "operations": sorted(candidate.prepared),
        "troubles": {operation: trouble_to_json(trouble) for operation, trouble in mine},
    }


def trouble_to_json(trouble: Trouble) -> dict[str, Any]:
    """`state`: `failing` (it does not cool yet), `cooling`, `waiting` for a request that probes it, `probing`."""
    return {
        "state": trouble.state,
        "kind": trouble.kind,
        "failures": trouble.failures,
        "cooling_seconds": round(trouble.seconds, 1),
    }


def check_to_json(name: str, check: ProviderCheck) -> dict[str, Any]:
    return {"name": name, **msgspec.structs.asdict(check)}
