"""Everything through which money comes in, of one house: credits, codes, invitations, payments, and its points.

Above: the composition root and the command line, which make one. Below: the rooms' own files.
"""

import time
from collections.abc import Callable

from posthouse.billing.codes import CodeDesk
from posthouse.billing.credits import CreditDesk, Maker
from posthouse.billing.invitations import InvitationDesk
from posthouse.billing.payments import PaymentDesk
from posthouse.billing.points import points_of
from posthouse.settings import PointsSettings
from posthouse.storage.database import Database


class Till:
    """The desks block: use threads. `clock` gives seconds since the epoch."""

    def __init__(self, database: Database, points: PointsSettings, clock: Callable[[], float] = time.time) -> None:
        maker = Maker(clock)
        self.clock = clock
        self.credits = CreditDesk(database, maker)
        self.codes = CodeDesk(database, maker)
        self.invitations = InvitationDesk(database, maker)
        self.payments = PaymentDesk(database, maker)
        self.points = points_of(points)
