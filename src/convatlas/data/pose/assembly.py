"""People cut out of images, with a heat map for each joint."""

from collections.abc import Sequence

from torch import Tensor

from convatlas.data.assembly import Assembly, Columns, Empty, Reading, Sample, generator_of
from convatlas.data.pose.people import PeopleSplit
from convatlas.data.pose.transform import STRIDE, PersonAugmentation, PersonTransform
from convatlas.data.preprocess import convert_channels
from convatlas.data.store import Kept, check_all, files_fit, survey
from convatlas.records import Preprocessing

READ_FIRST = 2000  # people of a split whose images are all read before the first epoch


class PersonAssembly(Assembly[PeopleSplit, Tensor]):
    """People (B, C, size, size) and heat maps (B, J, size / 4, size / 4) float32.

    Images that fit are kept in memory, each once for all of its people.

    Args:
        split: the people.
        preprocessing: its `size` is the network's square input.
        augment: `TurnAndScale`, `HorizontalFlip` and changes of colour; None: nothing is drawn.
    """

    takes_empty_shares = False

    def __init__(
        self, split: PeopleSplit, preprocessing: Preprocessing, augment: Sequence[PersonAugmentation] | None = ()
    ) -> None:
        super().__init__(split, preprocessing)
        self.draws = 0 if augment is None else 1
        self._transform = PersonTransform(preprocessing, split.names, tuple(augment or ()))
        self._images: Kept | None = None
        self._place_of: dict[str, int] = {}  # of an image by its path

    @property
    def augments(self) -> bool:
        return self.draws > 0

    @property
    def sample_bytes(self) -> int:
        side = self.preprocessing.size[0]
        return self.preprocessing.channels * side**2 + 4 * len(self.split.names) * (side // STRIDE) ** 2

    def prepare(self, reading: Reading) -> None:
        if files_fit(set(self.split.paths), self._bytes_of, reading.memory_limit_bytes):
            self._images = Kept()
            for path, image in survey(self.split, self._read_whole, reading.on_progress):
                if path not in self._place_of:
                    self._place_of[path] = len(self._images)
                    self._images.append(image)
        elif reading.check and len(self.split) <= READ_FIRST:
            check_all(self.split, self.split.read_pair, reading.on_progress)
        self.in_memory = self._images is not None

    def sample(self, index: int, draws: Tensor) -> Sample:
        if self._images is None:
            image, person = self.read(self.split.read_pair, index)
        else:
            image, person = self._images[self._place_of[self.split.paths[index]]], self.split.people[index]
        image, heat_maps = self._transform(image, person, generator_of(draws) if self.augments else None)
        return Sample(image, (heat_maps,))

    def labels(self, columns: Columns, indices: Tensor, empty: Empty) -> Tensor:
        (heat_maps,) = columns.targets
        return heat_maps

    def _read_whole(self, index: int) -> tuple[str, Tensor]:
        image, _ = self.split.read_pair(index)
        return self.split.paths[index], convert_channels(image, self.preprocessing.channels)

    def _bytes_of(self, height: int, width: int) -> int:
        return self.preprocessing.channels * height * width
