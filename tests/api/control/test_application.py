"""What the control plane answers when it is itself at fault."""

import logging

import pytest
from fastapi.testclient import TestClient
from msgspec.structs import replace

from posthouse.api.control import create
from posthouse.api.services import Services
from posthouse.billing.prices import PriceBook
from posthouse.gateway.pricing import Pricing
from posthouse.providers.model import Deployment
from posthouse.routing.service import Router
from tests.api.control.conftest import Scene, error_of


class BrokenPricing(Pricing):
    """Fails as only a mistake of ours could."""

    def listed(self, deployment: Deployment, now: float) -> None:
        raise RuntimeError(f"a secret detail of {deployment.id}")


def services(scene: Scene) -> Services:
    house = scene.house.house
    router, configuration = house.router, house.configuration
    assert isinstance(router, Router) and configuration is not None and house.ledger is not None
    return Services(
        configuration,
        house.database,
        house.journal,
        house.directory,
        house.prices,
        house.pricing,
        router,
        house.registry,
        house.desk,
        house.corrections,
        house.ledger,
        house.till,
    )


def test_a_mistake_of_ours_is_500_in_the_usual_shape_and_tells_nothing(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    broken = create(replace(services(scene), pricing=BrokenPricing(PriceBook())))
    headers = {"authorization": scene.client.headers["authorization"]}
    with caplog.at_level(logging.CRITICAL), TestClient(broken, raise_server_exceptions=False) as client:
        answer = client.get("/admin/api/prices", headers=headers)
    assert answer.status_code == 500
    assert error_of(answer.json())["code"] == "internal_error"
    assert "secret" not in answer.text
