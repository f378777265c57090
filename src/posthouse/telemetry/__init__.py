"""Metrics and the log of requests. Above: every room that counts something. Below: core.

Neither content nor secrets come here.
"""

from posthouse.telemetry.log import RequestLog
from posthouse.telemetry.metrics import AbortedBy, Telemetry
from posthouse.telemetry.model import Figures, Finished

__all__ = ["AbortedBy", "Figures", "Finished", "RequestLog", "Telemetry"]
