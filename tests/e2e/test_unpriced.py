"""Models without a price, and who says whether they may be used: the installation, an account, a key."""

from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.answers import answers, asked, completion
from tests.e2e.house import place

BUDGET: Final = {"amount": "5", "currency": "USD"}
_REFUSED: Final = (403, "model_unpriced")


@pytest.mark.parametrize(
    ("installation", "cases"),
    [
        (
            "auto",
            [
                ({}, None, True),
                ({"unpriced": "refuse"}, None, False),
                ({"budget": BUDGET}, None, False),
                ({"budget": BUDGET, "unpriced": "allow"}, None, True),
                ({"budget": BUDGET}, "allow", True),
                ({"unpriced": "allow"}, "refuse", False),
                ({"unpriced": "refuse"}, "allow", False),
            ],
        ),
        ("refuse", [({}, None, False), ({"unpriced": "allow"}, None, True), ({}, "allow", True)]),
        ("allow", [({"budget": BUDGET}, None, True), ({}, "refuse", False)]),
    ],
)
def test_a_key_or_an_account_says_otherwise_than_the_installation(
    tmp_path: Path, installation: str, cases: list[tuple[dict[str, Any], str | None, bool]]
) -> None:
    config = f'[billing]\nunpriced = "{installation}"\n'
    with place(tmp_path, config, models='"nameless"', more="passthrough = true") as here:
        here.upstream.scripts["nameless"] = answers(completion(model="nameless"))
        for number, (wish, above, passes) in enumerate(cases):
            company = here.house.admin("POST", "/accounts", {"name": f"c{number}", "unpriced": above})["id"]
            team = here.house.admin("POST", "/accounts", {"name": f"t{number}", "parent": company})["id"]
            key = here.house.new_key(account=team, **wish)
            with here.house.wire() as wire:
                for path in ("/v1/chat/completions", "/providers/main/chat/completions"):
                    before = here.house.last_id()
                    here.upstream.forget()
                    answer = wire.ask(path, asked(model="nameless"), key)
                    stored = here.house.only_since(before)
                    if passes:
                        assert answer.status == 200, (installation, wish, above, path)
                        assert (stored.record["priced"], stored.record["cost"]) == (False, None)
                        assert not stored.entries
                    else:
                        assert (answer.status, answer.error["code"]) == _REFUSED, (installation, wish, above, path)
                        assert here.upstream.visits == []
        here.house.verified()
