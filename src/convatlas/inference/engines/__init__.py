"""Engines: ways to compute what a trained network computes, faster. All agree with it to 1e-4.

`build` makes one by name and compares it with the network before it gives it out. `choose` takes the fastest for a
network, an input, a batch size and this machine: it measures once and remembers.
"""

from convatlas.inference.engines.build import ENGINES, TOLERANCE, Engine, build, check_name
from convatlas.inference.engines.choice import Choice, choose, remembered

__all__ = ["ENGINES", "TOLERANCE", "Choice", "Engine", "build", "check_name", "choose", "remembered"]
