"""Which network of the atlas another module is nearest to, and what differs: any module as comparable layers."""

from convatlas.analysis.likeness.alignment import Alignment, align
from convatlas.analysis.likeness.layers import Level, Part, constants_of, levels
from convatlas.analysis.likeness.registered import of_registered
from convatlas.analysis.likeness.words import Sentence, sentences

__all__ = ["Alignment", "Level", "Part", "Sentence", "align", "constants_of", "levels", "of_registered", "sentences"]
