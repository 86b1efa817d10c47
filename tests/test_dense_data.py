"""Folders of masks: every layout, what the values mean, and what is said of files that are no good."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas import data
from convatlas.data.segmentation.classes import CAMVID, CITYSCAPES, VOC, MaskClasses, voc_colours
from convatlas.data.segmentation.tables import find_table
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import VOID
from masks import drawn, read_masks_folder, write_pairs, write_parts


def stems(split) -> list[str]:
    return [Path(path).stem for path in split.paths]


def save(path: Path, values, **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, dtype=np.uint8), **more).save(path)
    return path


def mask_of(classes: MaskClasses, tmp_path: Path, values) -> list:
    return classes.decode(save(tmp_path / "mask.png", values)).tolist()


# --- layouts ---


def test_a_plain_folder_is_divided_by_the_seed(tmp_path):
    write_pairs(tmp_path / "images", tmp_path / "masks", range(10))
    train, test, classes = read_masks_folder(tmp_path)
    assert (stems(train), test, classes.names) == ([f"p{i}" for i in range(10)], None, ("0", "1", "2"))
    loaded = data.load(str(tmp_path), task="segmentation", test_fraction=0.3, seed=1)
    assert (len(loaded.train), len(loaded.test)) == (7, 3)
    assert sorted(stems(loaded.train) + stems(loaded.test)) == stems(train)
    image, mask = loaded.test.read_pair(1)
    number = int(stems(loaded.test)[1].removeprefix("p"))
    source_image, truth = drawn(number)
    assert torch.equal(image, torch.from_numpy(source_image).permute(2, 0, 1))
    assert torch.equal(mask, torch.from_numpy(truth))


def test_parts_may_lie_above_images_and_masks_or_below(tmp_path):
    write_parts(tmp_path / "above", 4, 2)
    write_pairs(tmp_path / "below" / "images" / "train", tmp_path / "below" / "masks" / "train", range(4))
    write_pairs(tmp_path / "below" / "images" / "val", tmp_path / "below" / "masks" / "val", range(4, 6))
    write_pairs(tmp_path / "below" / "images" / "test", tmp_path / "below" / "masks" / "other", range(6, 7))
    for folder in ("above", "below"):
        train, test, _ = read_masks_folder(tmp_path / folder)
        assert (stems(train), stems(test)) == (["p0", "p1", "p2", "p3"], ["p4", "p5"])


def test_a_mask_is_found_by_its_ending_and_in_folders_below(tmp_path):
    write_pairs(tmp_path / "imgs", tmp_path / "labels", range(2), image="a/{}.jpg", mask="a/{}_mask.png")
    train, _, _ = read_masks_folder(tmp_path)
    assert stems(train) == ["p0", "p1"]
    assert [Path(mask).name for mask in train.masks] == ["p0_mask.png", "p1_mask.png"]


def test_voc_goes_by_its_lists_and_names_what_is_lost(tmp_path):
    for top in (tmp_path / "alone", tmp_path / "kit" / "VOCdevkit" / "VOC2012"):
        write_pairs(top / "JPEGImages", top / "SegmentationClass", range(5), image="{}.jpg")
        lists = top / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("p3\np0\np9\n")
        (lists / "trainval.txt").write_text("p3\np0\np9\np1\n")
        (lists / "val.txt").write_text("p1\n")
    for folder in ("alone", "kit"):
        train, test, classes = read_masks_folder(tmp_path / folder)
        assert (stems(train), stems(test), classes) == (["p3", "p0"], ["p1"], VOC)
        assert [(problem.path, "train.txt" in problem.reason) for problem in train.problems] == [("p9", True)]


def test_voc_without_lists_takes_every_pair(tmp_path):
    write_pairs(tmp_path / "JPEGImages", tmp_path / "SegmentationClass", range(3), image="{}.jpg")
    write_pairs(tmp_path / "JPEGImages", tmp_path / "elsewhere", range(3, 4), image="{}.jpg")
    train, test, _ = read_masks_folder(tmp_path)
    assert (stems(train), test) == (["p0", "p1", "p2"], None)
    assert ["p3" in problem.path for problem in train.problems] == [True]


@pytest.mark.parametrize(("kind", "road", "car"), [("labelIds", 7, 26), ("labelTrainIds", 0, 13)])
def test_cityscapes_by_either_numbering(kind, road, car, tmp_path):
    for part, numbers in (("train", (0, 1)), ("val", (2,))):
        for number in numbers:
            save(tmp_path / "leftImg8bit" / part / "ulm" / f"ulm_{number}_leftImg8bit.png", np.zeros((2, 3, 3)))
            values = [[road, car, 255], [road, road, 3 if kind == "labelIds" else 255]]
            save(tmp_path / "gtFine" / part / "ulm" / f"ulm_{number}_gtFine_{kind}.png", values)
    save(tmp_path / "leftImg8bit" / "train" / "ulm" / "ulm_9_leftImg8bit.png", np.zeros((2, 3, 3)))
    train, test, classes = read_masks_folder(tmp_path)
    assert (len(train), len(test), len(classes.names)) == (2, 1, 19)
    expected = [[0, 13, VOID], [0, 0, VOID]]
    assert train.read_pair(0)[1].tolist() == expected
    assert [classes.names[i] for i in (0, 13)] == ["road", "car"]
    assert ["ulm_9" in problem.path for problem in train.problems] == [True]


def test_cityscapes_with_training_numbers_for_some_images_goes_by_the_others(tmp_path):
    for number in range(2):
        save(tmp_path / "leftImg8bit" / "train" / "ulm" / f"ulm_{number}_leftImg8bit.png", np.zeros((1, 2, 3)))
        save(tmp_path / "gtFine" / "train" / "ulm" / f"ulm_{number}_gtFine_labelIds.png", [[7, 26]])
    save(tmp_path / "gtFine" / "train" / "ulm" / "ulm_0_gtFine_labelTrainIds.png", [[0, 13]])
    train, test, classes = read_masks_folder(tmp_path)
    assert (classes, test) == (CITYSCAPES, None)
    assert [train.read_pair(i)[1].tolist() for i in range(2)] == [[[0, 13]]] * 2


def test_camvid_as_segnet_s_authors_hand_it_out(tmp_path):
    for part, numbers in (("train", range(2)), ("val", range(2, 3)), ("test", range(3, 5))):
        write_pairs(tmp_path / part, tmp_path / f"{part}annot", numbers)
    write_pairs(tmp_path / "train", tmp_path / "elsewhere", range(7, 8))
    save(tmp_path / "trainannot" / "p0.png", np.full((48, 64), 11))
    train, test, classes = read_masks_folder(tmp_path)
    assert (stems(train), stems(test), classes) == (["p0", "p1"], ["p3", "p4"], CAMVID)
    assert (train.read_pair(0)[1] == VOID).all()
    assert ["p7" in problem.path for problem in train.problems] == [True]


def test_masks_of_a_training_part_without_its_images_are_no_layout(tmp_path):
    save(tmp_path / "trainannot" / "p0.png", np.zeros((2, 2)))
    with pytest.raises(ConvatlasError, match="no folders of images and masks; expected images/ and masks/"):
        read_masks_folder(tmp_path)


def test_a_folder_called_camvid_has_its_names_where_the_values_fit(tmp_path):
    for name, value, expected in (("CamVid", 11, CAMVID.names), ("camvid_more", 12, tuple(map(str, range(13))))):
        write_pairs(tmp_path / name / "images", tmp_path / name / "masks", range(2))
        save(tmp_path / name / "masks" / "p0.png", np.tile(np.arange(64) // 4, (48, 1)).clip(max=value))
        assert read_masks_folder(tmp_path / name)[2].names == expected


# --- values ---


def test_a_palette_counts_by_its_numbers_not_its_colours(tmp_path):
    write_pairs(tmp_path / "images", tmp_path / "masks", range(2))
    for number in range(2):
        image = Image.fromarray(drawn(number)[1], mode="P")
        image.putpalette([200, 200, 200, 10, 10, 10, 200, 200, 200])
        image.save(tmp_path / "masks" / f"p{number}.png")
    train, _, classes = read_masks_folder(tmp_path)
    assert classes.names == ("0", "1", "2")
    assert torch.equal(train.read_pair(1)[1], torch.from_numpy(drawn(1)[1]))


def test_masks_of_0_and_255_are_of_two_classes(tmp_path):
    write_pairs(tmp_path / "images", tmp_path / "masks", range(2))
    for number in range(2):
        save(tmp_path / "masks" / f"p{number}.png", 255 * (drawn(number)[1] == 1))
    train, _, classes = read_masks_folder(tmp_path)
    assert classes.names == ("0", "255")
    assert torch.equal(train.read_pair(0)[1] == 1, torch.from_numpy(drawn(0)[1] == 1))
    assert int(train.read_pair(0)[1].max()) == 1


def test_masks_of_one_bit_are_of_two_classes(tmp_path):
    write_pairs(tmp_path / "images", tmp_path / "masks", range(2))
    for number in range(2):
        Image.fromarray(drawn(number)[1] == 2).save(tmp_path / "masks" / f"p{number}.png")
    train, _, classes = read_masks_folder(tmp_path)
    assert classes.names == ("0", "1")
    assert torch.equal(train.read_pair(0)[1] == 1, torch.from_numpy(drawn(0)[1] == 2))


def test_255_is_void_beside_two_other_values(tmp_path):
    write_pairs(tmp_path / "images", tmp_path / "masks", range(1))
    values = drawn(0)[1]
    save(tmp_path / "masks" / "p0.png", np.where(values == 2, 255, values))
    train, _, classes = read_masks_folder(tmp_path)
    assert classes.names == ("0", "1")
    assert torch.equal(train.read_pair(0)[1] == VOID, torch.from_numpy(values == 2))


def test_a_table_names_classes_and_void(tmp_path):
    (tmp_path / "classes.csv").write_text("value,name,colour\n0,Void,#000000\n10,sky,#0000ff\n20,earth,#00ff00\n")
    classes = find_table(tmp_path)
    assert classes is not None
    assert (classes.names, classes.values) == (("sky", "earth"), (10, 20))
    assert classes.colours == ((0, 0, 255), (0, 255, 0))
    assert mask_of(classes, tmp_path, [[0, 10, 20, 255]]) == [[VOID, 0, 1, VOID]]
    blue, green, black = (0, 0, 255), (0, 255, 0), (0, 0, 0)
    assert mask_of(classes, tmp_path, [[blue, green], [black, blue]]) == [[0, 1], [VOID, 0]]


def test_names_one_a_line_count_from_0(tmp_path):
    (tmp_path / "codes.txt").write_text("sky\nvoid\n\nearth\n")
    classes = find_table(tmp_path)
    assert classes is not None
    assert (classes.names, classes.values) == (("sky", "earth"), (0, 2))
    assert mask_of(classes, tmp_path, [[0, 1, 2]]) == [[0, VOID, 1]]


def test_masks_in_voc_s_colours_and_their_borders(tmp_path):
    cow, border = VOC.colours[10], (224, 224, 192)
    assert mask_of(VOC, tmp_path, [[(0, 0, 0), cow, border]]) == [[0, 10, VOID]]
    assert voc_colours(21)[1:4] == ((128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert cow == (64, 128, 0)


def test_numbers_saved_as_colours_are_still_numbers(tmp_path):
    """Many programs write a grey mask as red, green and blue alike."""
    write_pairs(tmp_path / "images", tmp_path / "masks", range(2))
    for number in range(2):
        save(tmp_path / "masks" / f"p{number}.png", np.repeat(drawn(number)[1][..., None], 3, axis=2))
    train, _, classes = read_masks_folder(tmp_path)
    assert classes.names == ("0", "1", "2")
    assert torch.equal(train.read_pair(0)[1], torch.from_numpy(drawn(0)[1]))


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("value,name\n0,sky\n", "names 1 classes; expected 2 to 254"),
        ("value,name\nnought,sky\n1,earth\n", "line 2.*expected the columns value, name"),
        ("name\nsky\nearth\n", "line 2.*expected the columns value, name"),
        ("value,name,colour\n0,sky,#12345\n1,earth,\n", "line 2.*colour"),
        ("value,name\n0,sky\n0,earth\n", "value 0 is there twice"),
        ("value,name\n0,sky\n1,sky\n", "class sky is there twice"),
    ],
)
def test_a_table_that_is_wrong_is_named(table, sentence, tmp_path):
    (tmp_path / "classes.csv").write_text(table)
    with pytest.raises(ConvatlasError, match=sentence) as caught:
        find_table(tmp_path)
    assert "classes.csv" in str(caught.value)


# --- files that are no good ---


def test_a_bad_mask_is_named_when_it_is_read(tmp_path):
    write_parts(tmp_path, 4, 1)
    masks = tmp_path / "train" / "masks"
    save(masks / "p0.png", np.zeros((40, 64)))
    (masks / "p1.png").write_bytes((masks / "p1.png").read_bytes()[:60])
    save(masks / "p2.png", np.full((48, 64), 9))
    train, _, _ = read_masks_folder(tmp_path)
    reasons = (
        "p0.png is 40 x 64, its image 48 x 64",
        "p1.png: not a mask that can be read",
        "p2.png: value 9 is none",
    )
    for index, reason in enumerate(reasons):
        with pytest.raises(ConvatlasError, match=reason):
            train.read_pair(index)
    assert train.read_pair(3)[1].max() == 2


@pytest.mark.parametrize("name", ["plain", "camvid"])
def test_an_unreadable_mask_does_not_hide_the_others(name, tmp_path):
    """Without a table the classes are told from those that can be read."""
    write_pairs(tmp_path / name / "images", tmp_path / name / "masks", range(3))
    (tmp_path / name / "masks" / "p0.png").write_bytes(b"no image")
    train, _, classes = read_masks_folder(tmp_path / name)
    assert classes.names == (CAMVID.names if name == "camvid" else ("0", "1", "2"))
    with pytest.raises(ConvatlasError, match=r"p0\.png: not a mask"):
        train.read_pair(0)


def test_images_without_a_mask_are_named_and_left_out(tmp_path):
    write_parts(tmp_path, 4, 1)
    (tmp_path / "train" / "masks" / "p2.png").unlink()
    train, _, _ = read_masks_folder(tmp_path)
    assert stems(train) == ["p0", "p1", "p3"]
    assert [Path(problem.path).name for problem in train.problems] == ["p2.png"]
    assert "has no mask" in train.problems[0].reason


def test_dropped_and_chosen_images_keep_their_masks(tmp_path):
    write_parts(tmp_path, 5, 1)
    train, _, _ = read_masks_folder(tmp_path)
    few = train.select([4, 1, 3])
    few.drop({0: "gone"})
    assert stems(few) == ["p1", "p3"]
    assert torch.equal(few.read_pair(1)[1], torch.from_numpy(drawn(3)[1]))


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda path: None, "has no folders of images and masks; expected images/ and masks/"),
        (lambda path: write_pairs(path / "images", path / "masks", range(0)), "holds no image with a mask"),
        (
            lambda path: (
                write_pairs(path / "images", path / "masks", range(1)),
                save(path / "masks" / "p0.png", np.zeros((48, 64))),
            ),
            "hold one value alone, 0; expected 2 to 254 classes",
        ),
        (
            lambda path: (
                write_pairs(path / "images", path / "masks", range(1)),
                save(path / "masks" / "p0.png", drawn(0)[0]),
            ),
            r"p0\.png holds colours; expected .*classes\.csv",
        ),
    ],
)
def test_a_folder_that_is_no_good_is_refused(made, sentence, tmp_path):
    made(tmp_path)
    with pytest.raises(ConvatlasError, match=sentence):
        read_masks_folder(tmp_path)


def test_a_test_part_of_other_classes_is_refused(tmp_path):
    first, second = write_parts(tmp_path / "a"), write_parts(tmp_path / "b")
    (second / "classes.txt").write_text("ground\nleaf\nbrick\n")
    with pytest.raises(ConvatlasError, match=r"brick.*expected those of"):
        data.load(str(first), task="segmentation", test=str(second))
    with pytest.raises(UsageError, match="'nowhere' does not exist"):
        data.load("nowhere", task="segmentation")


def test_another_folder_may_be_the_test_part(tmp_path):
    write_pairs(tmp_path / "a" / "images", tmp_path / "a" / "masks", range(3))
    write_pairs(tmp_path / "b" / "images", tmp_path / "b" / "masks", range(3, 5))
    loaded = data.load(str(tmp_path / "a"), task="segmentation", test=str(tmp_path / "b"))
    assert (stems(loaded.train), stems(loaded.test)) == (["p0", "p1", "p2"], ["p3", "p4"])
