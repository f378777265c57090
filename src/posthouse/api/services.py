"""What the control plane is given: the rooms that it shows and changes. No framework here."""

from msgspec import Struct

from posthouse.accounts.service import Directory
from posthouse.billing.corrections import CorrectionDesk
from posthouse.billing.desk import PriceDesk
from posthouse.billing.ledger import Ledger
from posthouse.billing.prices import PriceBook
from posthouse.billing.till import Till
from posthouse.gateway.configuration import Configuration
from posthouse.gateway.pricing import Pricing
from posthouse.providers.registry import Registry
from posthouse.routing.service import Router
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal


class Services(Struct, frozen=True, eq=False):
    """All of one running house. Calls on `database`, verbs of `directory`, `desk`, `corrections` and `till`, and
    `journal.wait_applied` block: use threads. `ledger` belongs to the loop."""

    configuration: Configuration
    database: Database
    journal: Journal
    directory: Directory
    prices: PriceBook
    pricing: Pricing
    router: Router
    registry: Registry
    desk: PriceDesk
    corrections: CorrectionDesk
    ledger: Ledger
    till: Till
