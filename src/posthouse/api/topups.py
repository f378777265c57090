"""The till of a house, and its faces that want no key: webhooks and accepted invitations.

Above: the composition root. Below: `webhooks.py`, `joining.py`.
"""

from posthouse.accounts.service import Directory
from posthouse.api.joining import JoiningFace
from posthouse.api.peers import Peers
from posthouse.api.server import FrontDoor
from posthouse.api.webhooks import Webhooks
from posthouse.billing.till import Till
from posthouse.settings import Settings
from posthouse.storage.database import Database


def open_till(door: FrontDoor, database: Database, directory: Directory, settings: Settings) -> Till:
    """The till, with its routes at the door."""
    till = Till(database, settings.points)
    Webhooks(door, till, directory, settings.topup).mount()
    JoiningFace(door, till, directory, Peers(settings.server.trusted_proxies)).mount()
    return till
