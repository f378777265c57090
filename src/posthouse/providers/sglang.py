"""SGLang.

A server of one's own. Errors are flat: {object: error, message, type, param, code}.

Sources: docs.sglang.ai through other clients' recordings. Checked: 2026-11-21. Not confirmed: the form of a 401.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="sglang",
    title="SGLang",
    docs="https://docs.sglang.ai",
    checked="2026-11-21",
    base_url="http://127.0.0.1:30000/v1",
    auth="none",
    base_url_env="SGLANG_BASE_URL",
    free=True,
)
