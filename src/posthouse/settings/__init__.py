"""Settings: read once at start, frozen, each knowing where it came from.

`load` reads the layers (command line > environment > file > defaults) and gives a `Loaded`; rooms above get the frozen
structs of `model`. Below: core only.
"""

from posthouse.settings.explain import Explanation, Loaded
from posthouse.settings.load import Folders, load
from posthouse.settings.model import (
    AdminSettings,
    BillingSettings,
    BoundSettings,
    IdempotencySettings,
    LimitsSettings,
    LogSettings,
    ModelEntry,
    PointsSettings,
    PriceSettings,
    ProviderSettings,
    RateSettings,
    RouteSettings,
    RoutingSettings,
    ServerSettings,
    Settings,
    StorageSettings,
    TimeoutSettings,
    TopupSettings,
    UpstreamSettings,
)
from posthouse.settings.problem import Problem, Source
from posthouse.settings.secret import Secret, SecretUrl
from posthouse.settings.wellknown import WellKnown, credentials_from

__all__ = [
    "AdminSettings",
    "BillingSettings",
    "BoundSettings",
    "Explanation",
    "Folders",
    "IdempotencySettings",
    "LimitsSettings",
    "Loaded",
    "LogSettings",
    "ModelEntry",
    "PointsSettings",
    "PriceSettings",
    "Problem",
    "ProviderSettings",
    "RateSettings",
    "RouteSettings",
    "RoutingSettings",
    "Secret",
    "SecretUrl",
    "ServerSettings",
    "Settings",
    "Source",
    "StorageSettings",
    "TimeoutSettings",
    "TopupSettings",
    "UpstreamSettings",
    "WellKnown",
    "credentials_from",
    "load",
]
