"""Speed, as ratios against a bare loop in the same run: `make bench` writes docs/benchmarks.md."""
