"""Test suite, laid out as the packages it tests: tests/serving, tests/training, tests/benchmarks."""
