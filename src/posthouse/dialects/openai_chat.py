"""chat.completions: the door through which the rest of the house reaches this dialect.

openai_chat_head    the hot door of a request: checked and read as far as the spine needs
openai_chat_stream  the observer of a stream on its way through
openai_chat_whole   whole answers, and the way between whole and streamed
openai_usage        usage objects; openai_errors: error bodies
"""

from posthouse.dialects.openai_chat_head import decode_head, encode_body
from posthouse.dialects.openai_chat_stream import DONE, ChatStream, usage_chunk
from posthouse.dialects.openai_chat_text import Emitted
from posthouse.dialects.openai_chat_whole import (
    ChatCollector,
    WholeReply,
    collect,
    to_events,
    whole_text,
    whole_usage,
)
from posthouse.dialects.openai_errors import StreamError, decode_error, encode_error
from posthouse.dialects.openai_usage import usage_of, usage_payload

__all__ = [
    "DONE",
    "ChatCollector",
    "ChatStream",
    "Emitted",
    "StreamError",
    "WholeReply",
    "collect",
    "decode_error",
    "decode_head",
    "encode_body",
    "encode_error",
    "to_events",
    "usage_chunk",
    "usage_of",
    "usage_payload",
    "whole_text",
    "whole_usage",
]
