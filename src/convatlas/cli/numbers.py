"""How people read large numbers. CSV and JSON hold plain integers instead."""

from convatlas.readable import integer, memory, scaled, shape, significant

__all__ = ["integer", "memory", "scaled", "shape", "significant"]
