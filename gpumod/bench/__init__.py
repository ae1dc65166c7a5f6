"""Benchmark jobs: suites, metrics, statistics and reports."""
