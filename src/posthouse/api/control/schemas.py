"""The JSON schemas of request bodies, for the OpenAPI document. What holds is what `accounts/forms.py` and `rules.py`
say (a test compares the members)."""

from typing import Any, Final

from posthouse.accounts.budgets import KINDS, MAX_BUDGETS, PERIODS
from posthouse.accounts.limits import COUNTS
from posthouse.accounts.model import ACCOUNT_KINDS, ROLES
from posthouse.accounts.rights import MAX_PROVIDERS, OWN, UNPRICED
from posthouse.billing.codes import MAX_COUNT as MAX_CODES
from posthouse.billing.invitations import MAX_COUNT as MAX_INVITATIONS
from posthouse.billing.invitations import MAX_USES
from posthouse.core.requests import SCOPES
from posthouse.settings import PriceSettings

Schema = dict[str, Any]

_NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 128}
_LIMIT: Final[Schema] = {"type": ["integer", "null"], "minimum": 1}
_LIMITS: Final[Schema] = {
    "type": ["object", "null"],
    "description": "Requests, tokens and images in a minute, an hour, a calendar day; requests at once; what one "
    "request may use. null is no limit of its own.",
    "properties": {
        **dict.fromkeys(COUNTS, _LIMIT),
        "request_spend": {
            "type": ["object", "null"],
            "properties": {"amount": {"type": "string"}, "currency": {"type": "string", "pattern": "^[A-Z]{3}$"}},
            "required": ["amount", "currency"],
            "additionalProperties": False,
        },
        "models": {
            "type": ["object", "null"],
            "description": "Limits of single models, by their names; all of them are replaced.",
            "additionalProperties": {
                "type": "object",
                "properties": dict.fromkeys(COUNTS, _LIMIT),
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}
_SHORT: Final[Schema] = {
    "amount": {"type": ["string", "integer"], "examples": ["5.00"], "description": "A decimal string."},
    "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
    "period": {"enum": [*PERIODS, None], "default": "total"},
}
_BUDGET: Final[Schema] = {
    "type": ["object", "null"],
    "description": "In short: `budgets` with one limit, for all models, in the calendar of UTC.",
    "properties": _SHORT,
    "required": ["amount", "currency"],
    "additionalProperties": False,
}
_BUDGETS: Final[Schema] = {
    "type": ["array", "null"],
    "maxItems": MAX_BUDGETS,
    "description": "The most that may be spent, each in a period; every one of them holds. All are of one currency.",
    "items": {
        "type": "object",
        "properties": {
            **_SHORT,
            "amount": {**_SHORT["amount"], "type": ["string", "integer", "null"]},
            "time_zone": {
                "type": ["string", "null"],
                "examples": ["UTC", "+08:00", "Asia/Shanghai"],
                "description": "Whose calendar the period is of; UTC without.",
            },
            "model": {
                "type": ["string", "null"],
                "minLength": 1,
                "maxLength": 256,
                "description": "Only what is asked of this model counts; all without.",
            },
            "kind": {
                "enum": [*KINDS, None],
                "description": "`prepaid`, of accounts only: its amount is what has been paid in, and is not said.",
            },
        },
        "required": ["currency"],
        "additionalProperties": False,
    },
}
_MODELS: Final[Schema] = {
    "type": ["array", "null"],
    "items": {"type": "string", "minLength": 1, "maxLength": 256},
    "minItems": 1,
    "description": "The only models that it may use; null is all.",
}
_EXPIRES_AT: Final[Schema] = {
    "type": ["string", "number", "null"],
    "description": "ISO 8601, UTC where no zone is said, or seconds since the epoch.",
}


_WISHES: Final[Schema] = {
    "defaults": {
        "type": ["object", "null"],
        "description": "Top-level members that are set where a request lacks them.",
        "examples": [{"temperature": 0.2}],
    },
    "aliases": {
        "type": ["object", "null"],
        "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 256},
        "description": "Other names for models.",
        "examples": [{"gpt-4": "smart"}],
    },
    "strict": {
        "type": ["boolean", "null"],
        "description": "Whether a request is refused of which something cannot be passed on to the provider.",
    },
}


_SCOPES: Final[Schema] = {
    "type": ["array", "null"],
    "items": {"enum": list(SCOPES)},
    "minItems": 1,
    "description": "The only kinds of requests that it may make; null is all.",
}
_UNPRICED: Final[Schema] = {
    "enum": [*UNPRICED, None],
    "description": "What becomes of requests that have no price; null: what the account above says, else the settings.",
}
_OWN_CREDENTIAL: Final[Schema] = {
    "type": ["object", "null"],
    "description": "That its holder may bring a credential of a provider; null: it may not.",
    "properties": {
        "accounts": {
            "type": "array",
            "items": {"type": "string", "maxLength": 64},
            "minItems": 1,
            "maxItems": MAX_PROVIDERS,
            "description": "Names of the provider accounts in whose place it may stand.",
        },
        "fee_percent": {
            "type": ["string", "number", "null"],
            "examples": ["2.5"],
            "description": "What is charged for such a request, in per cent of its price; 0 without.",
        },
    },
    "required": ["accounts"],
    "additionalProperties": False,
}
_BOUNDS: Final[Schema] = {
    "models": _MODELS,
    "budget": _BUDGET,
    "budgets": _BUDGETS,
    "limits": _LIMITS,
    "scopes": _SCOPES,
    "unpriced": _UNPRICED,
}
_ROLE: Final[Schema] = {"enum": [*ROLES, None], "description": "What it may do on the control plane; null: nothing."}


def _object(properties: Schema, *required: str) -> Schema:
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


NEW_KEY: Final = _object(
    {
        "name": _NAME,
        "account": {"type": ["string", "null"], "description": "Id or name; the account `default` without it."},
        **_BOUNDS,
        "expires_at": _EXPIRES_AT,
        "role": _ROLE,
        **_WISHES,
        OWN: _OWN_CREDENTIAL,
    },
    "name",
)
KEY_CHANGES: Final = _object(
    {"name": _NAME, **_BOUNDS, "expires_at": _EXPIRES_AT, "role": _ROLE, **_WISHES, OWN: _OWN_CREDENTIAL}
)
_ACCOUNT: Final[Schema] = {
    "name": _NAME,
    "parent": {"type": ["string", "null"], "description": "Id or name of the account that it is under; null: a root."},
    "kind": {"enum": list(ACCOUNT_KINDS)},
    **_BOUNDS,
}
NEW_ACCOUNT: Final = _object(_ACCOUNT, "name")
ACCOUNT_CHANGES: Final = _object({**_ACCOUNT, "disabled": {"type": "boolean"}})

_AMOUNT: Final[Schema] = {"type": "string", "examples": ["0.15"], "description": "A decimal string."}
_DATE: Final[Schema] = {"type": "string", "format": "date"}
_TIME: Final[Schema] = {"type": "string", "examples": ["08:30"]}
_OWN: Final[dict[str, Schema]] = {
    "model": {"type": "string", "minLength": 1, "maxLength": 256, "description": "`*` is every model."},
    "provider": {"type": "string", "description": "The name of a provider account; all without."},
    "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
    "service_tier": {"type": "string", "examples": ["flex"]},
    "tiers": {
        "type": "array",
        "items": {"type": "object", "properties": {"above": {"type": "integer", "minimum": 1}}, "required": ["above"]},
        "description": "Other amounts for a whole request with more than `above` tokens of input.",
    },
    "image_kinds": {"type": "object", "additionalProperties": _AMOUNT},
    "effective_from": _DATE,
    "effective_until": _DATE,
    "daily_from": _TIME,
    "daily_until": _TIME,
    "days": {"type": "array", "items": {"enum": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}},
    "zone": {"type": "string", "examples": ["UTC", "+08:00", "Asia/Shanghai"]},
}
NEW_PRICE: Final = _object({name: _OWN.get(name, _AMOUNT) for name in PriceSettings.__struct_fields__}, "model")
NEW_CORRECTION: Final = _object(
    {
        "key": {"type": ["string", "null"], "description": "Id of a key of the account that it is about, too."},
        "amount": {"type": "string", "examples": ["-5.00"], "description": "What is owed more; less where negative."},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "reason": {"type": "string", "minLength": 1, "maxLength": 1000},
        "author": {"type": "string", "minLength": 1, "maxLength": 128},
        "idempotency_key": {"type": "string", "minLength": 1, "maxLength": 255},
    },
    *("amount", "currency", "reason", "author", "idempotency_key"),
)
_MONEY: Final[Schema] = {
    "amount": {"type": ["string", "null"], "examples": ["5.00"], "description": "A decimal string; with `currency`."},
    "currency": {"type": ["string", "null"], "pattern": "^[A-Z]{3}$"},
    "points": {"type": ["integer", "string", "null"], "description": "In place of both, where points are set up."},
}
_TEXT: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 1000}
_BONUS: Final[Schema] = {"type": ["object", "null"], "properties": _MONEY, "additionalProperties": False}
NEW_CREDIT: Final = _object(
    {**_MONEY, "reason": _TEXT, "author": _NAME, "idempotency_key": {**_TEXT, "maxLength": 255}},
    *("reason", "author", "idempotency_key"),
)
NEW_BATCH: Final = _object(
    {
        "name": _NAME,
        "count": {"type": "integer", "minimum": 1, "maximum": MAX_CODES},
        **_MONEY,
        "expires_at": _EXPIRES_AT,
        "author": {"type": ["string", "null"], "description": "The key that asks, without one."},
    },
    *("name", "count"),
)
REDEEM: Final = _object(
    {
        "code": {"type": "string", "maxLength": 100},
        "account": {"type": ["string", "null"], "description": "Id or name; that of the key without it."},
    },
    "code",
)
NEW_INVITATION: Final = _object(
    {
        "name": _NAME,
        "parent": {"type": "string", "description": "Id or name of the account that the new ones are under."},
        "account": {"type": ["object", "null"], "description": "What they are like: a new account without its name."},
        "key": {"type": ["object", "null"], "description": "What their first key is like: a new key without its name."},
        "bonus": _BONUS,
        "inviter": {"type": ["string", "null"], "description": "Id or name of an account."},
        "inviter_bonus": _BONUS,
        "max_uses": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_USES, "default": 1},
        "count": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_INVITATIONS, "default": 1},
        "expires_at": _EXPIRES_AT,
        "author": {"type": ["string", "null"], "description": "The key that asks, without one."},
    },
    *("name", "parent"),
)
SEED: Final[Schema] = {
    "type": "object",
    "description": "A seed (with these members), LiteLLM's table, or models.dev's catalog.",
    "properties": {
        "sources": {"type": "array", "items": {"type": "object"}},
        "currency": {"type": "string"},
        "providers": {"type": "object"},
    },
}

ERROR: Final[Schema] = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}


def body(schema: Schema) -> Schema:
    """What `openapi_extra` wants for a JSON body."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def refusals(*statuses: int) -> dict[int | str, Schema]:
    """What `responses` wants for errors in OpenAI's shape."""
    content = {"application/json": {"schema": ERROR}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


_MEANINGS: Final = {
    400: "The request is not valid; `param` names the field.",
    401: "No key, or one that is not known.",
    403: "A key that is not the admin's.",
    404: "There is no such thing.",
    503: "The database does not answer just now.",
}
