"""Measurements of fastconv against its peers and against the limits of the machine.

`python -m benchmarks.compare` measures every engine and writes RESULTS.md; `pytest benchmarks`
tracks fastconv's own speed.  How to read the tables stands in `compare.py`.
"""
