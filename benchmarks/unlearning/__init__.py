"""The benchmark of unlearning methods: `python -m benchmarks.unlearning --help`."""
