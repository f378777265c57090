"""The control plane: `/admin/api`, an ordinary FastAPI application beside the model routes.

Loaded once the socket listens (app.py has the figures). Every route wants the admin key, or a key whose
role may (roles.py); errors have OpenAI's shape, as
everywhere. The work is done by the rooms below, in threads, since it blocks.
"""

from posthouse.api.control.application import create

__all__ = ["create"]
