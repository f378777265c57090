"""Providers and models as JSON: what the admin API answers and what `--json` prints. Credentials are never in it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from posthouse.core.errors import FailureKind
from posthouse.core.requests import Operation
from posthouse.routing.catalog import Catalog
from posthouse.routing.check import ProviderCheck
from posthouse.routing.model import Candidate, Listed, Offer
from posthouse.settings.secret import mask_url

# As `Health.report` gives it: (deployment, operation) -> (last failure, failures in a row, seconds it still cools).
Report = Mapping[tuple[str, Operation], tuple[FailureKind | None, int, float]]


def offer_to_json(offer: Offer) -> dict[str, Any]:
    """What is configured. `models` null: whatever the provider's own list says."""
    account = offer.account
    row = account.row
    return {
        "name": account.name,
        "type": row.name,
        "title": row.title,
        "base_url": None if row.transport is not None else mask_url(account.base_url),
        "credential": "set" if account.credential is not None else "not needed" if row.auth == "none" else "missing",
        "proxy": None if account.proxy is None else mask_url(account.proxy),
        "models": None if offer.models is None else [model.name for model in offer.models],
        "priority": offer.priority,
        "weight": offer.weight,
        "on_disconnect": account.on_disconnect,
    }


def provider_to_json(offer: Offer, catalog: Catalog, report: Report) -> dict[str, Any]:
    """An offer and how it does: `ok`, `cooling` (some of its models fail), `unlisted` (its list could not be had), or
    `idle` (it serves no model)."""
    name = offer.account.name
    served = [c.deployment.id for c in catalog.deployments() if c.deployment.account.name == name]
    problem = catalog.problems.get(name)
    cooling = [
        {"deployment": deployment, "operation": operation, **trouble_to_json(trouble)}
        for (deployment, operation), trouble in sorted(report.items())
        if deployment in served and trouble[2] > 0
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
    """`troubles` holds the operations that failed since they last answered."""
    deployment = candidate.deployment
    return {
        "deployment": deployment.id,
        "provider": deployment.account.name,
        "upstream_model": deployment.upstream_model,
        "rank": list(candidate.rank),
        "weight": candidate.weight,
        "operations": sorted(candidate.prepared),
        "troubles": {
            operation: trouble_to_json(trouble)
            for (name, operation), trouble in sorted(report.items())
            if name == deployment.id
        },
    }


def trouble_to_json(trouble: tuple[FailureKind | None, int, float]) -> dict[str, Any]:
    kind, failures, seconds = trouble
    return {"kind": kind, "failures": failures, "cooling_seconds": round(seconds, 1)}


def check_to_json(name: str, check: ProviderCheck) -> dict[str, Any]:
    return {"name": name, **msgspec.structs.asdict(check)}
