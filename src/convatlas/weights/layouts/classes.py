"""The names of the classes that released weights were trained for, in the order of their outputs."""

from functools import lru_cache

_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_DIGITS = tuple("0123456789")
_CAMVID = "sky,building,pole,road,pavement,tree,sign symbol,fence,car,pedestrian,bicyclist"
_VOC = (
    "background,aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,dining table,dog,horse,motorbike,person,"
    "potted plant,sheep,sofa,train,tv/monitor"
)
_CITYSCAPES = (
    "road,sidewalk,building,wall,fence,pole,traffic light,traffic sign,vegetation,terrain,sky,person,rider,car,truck,"
    "bus,train,motorcycle,bicycle"
)


@lru_cache(maxsize=8)
def class_names(key: str) -> tuple[str, ...]:
    """The classes of a data set by its key. ImageNet's are in the order of their WordNet ids."""
    if key == "imagenet":
        from torchvision.models import AlexNet_Weights  # which names the classes, and is slow to import

        return tuple(AlexNet_Weights.IMAGENET1K_V1.meta["categories"])
    known = {
        "cifar10": _CIFAR10,
        "mnist": _DIGITS,
        "camvid": tuple(_CAMVID.split(",")),
        "voc": tuple(_VOC.split(",")),
        "cityscapes_enet": ("unlabeled", *_CITYSCAPES.split(",")),
        "retina_vessels": ("background", "vessel"),
    }
    return known[key]
