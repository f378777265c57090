"""Any dialect in, any dialect out: what one side means reaches the other, and what does not is told."""

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from posthouse.core.requests import Operation
from tests.dialects.keeping import holds_the_conversation, keeps_what_both_can_say, sent
from tests.dialects.pairs import EXAMPLES, PAIRS, asked

every_pair = pytest.mark.parametrize(("client", "provider"), PAIRS)


@pytest.mark.req("XLATE-013")
@every_pair
@settings(max_examples=EXAMPLES)
@given(st.data())
def test_a_request_keeps_all_that_both_can_say_and_tells_the_rest(
    client: Operation, provider: Operation, data: st.DataObject
) -> None:
    request = data.draw(asked(client))
    encoded = sent(request, provider) or reject()
    keeps_what_both_can_say(client, provider, request, encoded)


@pytest.mark.req("XLATE-014")
@every_pair
@settings(max_examples=EXAMPLES)
@given(st.data())
def test_a_conversation_reaches_the_other_side_in_its_order(
    client: Operation, provider: Operation, data: st.DataObject
) -> None:
    request = data.draw(asked(client))
    encoded = sent(request, provider) or reject()
    holds_the_conversation(client, provider, request, encoded)
