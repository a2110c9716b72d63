"""Data sets, each a module with a function `load_data`; nothing is ever downloaded."""

from fastconv.datasets import digits, fashion_mnist

__all__ = ["digits", "fashion_mnist"]
