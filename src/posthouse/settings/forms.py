"""Settings as JSON: what the admin API answers and what `posthouse config --json` prints. Secrets are masked."""

from typing import Any

from posthouse.settings.explain import Explanation
from posthouse.settings.problem import Problem, Source


def explanation_to_json(one: Explanation) -> dict[str, Any]:
    """`hidden` holds what lower layers say, the highest first."""
    return {
        "key": one.key,
        "value": one.value,
        **source_to_json(one.source),
        "hidden": [{"value": value, **source_to_json(source)} for value, source in one.hidden],
    }


def source_to_json(source: Source) -> dict[str, Any]:
    return {"layer": source.layer, "where": source.where or None}


def problem_to_json(problem: Problem) -> dict[str, Any]:
    return {"level": problem.level, "where": problem.where, "key": problem.key, "message": problem.message}
