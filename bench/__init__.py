"""The benchmark of the hot path: `make bench` (docs/benchmarks.md says what is measured and how)."""
