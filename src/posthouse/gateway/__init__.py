"""The spine: admit, hold, attempt, settle. Nobody else reaches a provider."""
