"""Hoiem's kinds of mistakes by hand, what they cost, and the worst images."""

import math

import pytest
import torch

from convatlas.evaluation.detection import match, precision_recall
from convatlas.evaluation.error_analysis import (
    KINDS,
    analyse,
    best_threshold,
    image_errors,
    similar_classes,
    worst_images,
)
from convatlas.records import Detections, Objects

CLASSES = ("dog", "cat", "car")  # dog and cat are similar
DOG, CAT, CAR = [0.0, 0, 10, 10], [20.0, 0, 30, 10], [40.0, 0, 50, 10]


def scene(difficult: bool = False) -> Objects:
    return Objects(torch.tensor([DOG, CAT, CAR]), torch.tensor([0, 1, 2]), torch.tensor([difficult, False, False]))


def dogs(*boxes: list[float]) -> Detections:
    scores = torch.linspace(0.9, 0.1, len(boxes))
    return Detections(torch.tensor(boxes).reshape(-1, 4), torch.zeros(len(boxes), dtype=torch.int64), scores)


def test_every_kind_by_hand() -> None:
    found = dogs(DOG, DOG, [0.0, 0, 10, 4], CAT, CAR, [70.0, 70, 80, 80], [28.0, 0, 48, 10])
    # right; twice; overlap 0.4; on a cat; on a car; on nothing; 0.07 of a cat but 0.36 of a car
    (of_dog, of_cat, _) = analyse([found], [scene()], CLASSES)
    assert of_dog.counts == (1, 0, 0, 0, 0)  # the first one, as there is one dog
    by_factor = dict(of_dog.trend)
    assert by_factor[8.0] == (1, 2, 1, 2, 1)
    assert by_factor[4.0] == (1, 2, 1, 0, 0)
    assert by_factor[0.125] == (0, 0, 0, 0, 0)
    assert (of_cat.missed, of_cat.objects, of_cat.ap) == (1, 1, 0.0)
    assert len(KINDS) == 5


def test_what_a_kind_costs() -> None:
    # background, right: AP 1/2; without the background 1
    of_dog = analyse([dogs([70.0, 70, 80, 80], DOG)], [scene()], CLASSES)[0]
    assert of_dog.ap == 0.5
    assert of_dog.ap_without[4] == 1.0
    assert of_dog.ap_without[1:4] == (0.5, 0.5, 0.5)
    assert math.isnan(of_dog.ap_without[0])


def test_what_lies_on_difficult_objects_is_of_no_kind() -> None:
    of_dog = analyse([dogs(DOG, CAT)], [scene(difficult=True)], CLASSES)[0]
    assert sum(of_dog.counts) == 0
    assert of_dog.objects == 0


def test_groups_of_similar_classes() -> None:
    assert similar_classes(CLASSES).tolist() == [[False, True, False], [True, False, False], [False] * 3]
    assert not similar_classes(("RBC", "WBC")).any()
    bird_and_plane = similar_classes(("bird", "aeroplane", "car", "cow"))
    assert bird_and_plane[0].tolist() == [False, True, False, True]
    assert bird_and_plane[1].tolist() == [True, False, True, False]


def test_the_threshold_of_the_largest_f1() -> None:
    # right, wrong, right, wrong of two dogs on two images: F1 2/3, 1/2, 4/5, 2/3
    images = [dogs(DOG, CAT, CAR), dogs(DOG)]
    images[1] = Detections(images[1].boxes, images[1].labels, torch.tensor([0.3]))
    curve = precision_recall(match(images, [scene(), scene()], 0))
    assert curve.scores.tolist() == pytest.approx([0.9, 0.5, 0.3, 0.1])
    assert best_threshold(curve) == pytest.approx(0.3)
    assert best_threshold(precision_recall(match([dogs(CAT)], [scene()], 0))) == math.inf
    assert best_threshold(precision_recall(match([dogs()], [scene()], 0))) == math.inf


def test_images_with_the_most_mistakes() -> None:
    good = Detections(torch.tensor([DOG, CAT, CAR]), torch.tensor([0, 1, 2]), torch.tensor([0.9, 0.9, 0.9]))
    errors = image_errors([good, dogs(DOG, DOG), dogs()], [scene()] * 3, [0.0, 0.0, 0.0])
    assert [one.mistakes for one in errors] == [0, 3, 3]
    assert errors[1].right.tolist() == [True, False]
    assert errors[1].missed.tolist() == [1, 2]
    assert worst_images(errors) == [1, 2]
    above = image_errors([dogs(DOG, DOG)], [scene()], [0.5, 0.0, 0.0])
    assert above[0].shown.tolist() == [0]
    assert above[0].mistakes == 2
    hard = image_errors([dogs(DOG)], [scene(difficult=True)], [0.0] * 3)[0]
    assert (hard.ignored.tolist(), hard.missed.tolist()) == ([True], [1, 2])
