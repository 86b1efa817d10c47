"""Trained weights: read safely, translated from the layouts they were released in, fitted to a network, saved.

A weights file of ours is .safetensors with a card in its metadata, `{"convatlas": JSON}`: the network's name, its
numbers of classes and channels, the names of the classes, and the preprocessing. `make_card` makes a card.
"""

from convatlas.weights.cards import make_card, preprocessing_of
from convatlas.weights.compress import Compressed, Retraining, compress
from convatlas.weights.files import save
from convatlas.weights.loading import Read, absent_heads, build, create, load_into, open_file, read, read_card
from convatlas.weights.published import Published, published
from convatlas.weights.settings import apply_settings

__all__ = [
    "Compressed", "Published", "Read", "Retraining", "absent_heads", "apply_settings", "build", "compress", "create",
    "load_into", "make_card", "open_file", "preprocessing_of", "published", "read", "read_card", "save",
]  # fmt: skip
