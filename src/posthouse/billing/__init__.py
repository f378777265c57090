"""Money: prices, holds, budgets, the ledger and what is asked of it. Rules: docs/billing.md, each with its test."""
