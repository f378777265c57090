"""chat.completions: what the rest of the house calls this dialect by.

The hot door (`decode_head`, `encode_body`) and the errors; the full codec stands beside them.
"""

from posthouse.dialects.openai_chat_head import decode_head, encode_body
from posthouse.dialects.openai_errors import StreamError, decode_error, encode_error

__all__ = ["StreamError", "decode_error", "decode_head", "encode_body", "encode_error"]
