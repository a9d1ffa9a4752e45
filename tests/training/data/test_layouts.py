"""Layouts of public datasets, from names alone."""

import pytest

from abdoseg.training.data.layouts import detect_layout


def pairs(*names):
    return {found.case: (found.image, *found.labels) for found in detect_layout(names).cases}


def test_flare22_as_it_unpacks_or_flat_or_all_in_one_folder():
    for root in ("", "FLARE22Train/", "a/b/FLARE22_LabeledCase50/"):
        image, labels = f"{root}images/FLARE22_Tr_0001_0000.nii.gz", f"{root}labels/FLARE22_Tr_0001.nii.gz"
        assert pairs(image, labels) == {"FLARE22_Tr_0001": (image, labels)}
        assert detect_layout([image, labels]).scheme == "flare22"
    assert pairs("x_0000.nii.gz", "x.nii.gz") == {"x": ("x_0000.nii.gz", "x.nii.gz")}


@pytest.mark.parametrize(
    ("image", "labels", "case", "scheme"),
    [
        ("imagesTr/liver_7.nii.gz", "labelsTr/liver_7.nii.gz", "liver_7", "flare22"),
        ("imagesVa/amos_0008.nii.gz", "labelsVa/amos_0008.nii.gz", "amos_0008", "amos"),
        ("RawData/Training/img/img0001.nii.gz", "RawData/Training/label/label0001.nii.gz", "0001", "btcv"),
        (
            "averaged-training-images/DET0000101_avg.nii.gz", "averaged-training-labels/DET0000101_avg_seg.nii.gz",
            "DET0000101_avg", "btcv",
        ),
        ("case_00003/imaging.nii.gz", "case_00003/segmentation.nii.gz", "case_00003", "kits"),
        ("volume-12.nii", "segmentation-12.nii", "12", "msd-liver"),
        ("ircadb1.1_ct.nii.gz", "ircadb1.1_seg.nii.gz", "ircadb1.1", "abdoseg"),
        ("scan.mha", "scan_seg.nrrd", "scan", "abdoseg"),
    ],
)  # fmt: skip
def test_each_layout_pairs_its_image_with_its_labels(image, labels, case, scheme):
    layout = detect_layout([image, labels])
    assert [(f.case, f.image, f.labels) for f in layout.cases] == [(case, image, (labels,))]
    assert layout.scheme == scheme


def test_msd_states_its_numbers_in_dataset_json():
    assert detect_layout(["dataset.json", "imagesTr/a.nii.gz", "labelsTr/a.nii.gz"]).scheme == "dataset.json"


def test_images_to_be_tested_on_are_no_cases():
    layout = detect_layout(["imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTs/b.nii.gz"])
    assert [found.case for found in layout.cases] == ["a"] and layout.left_out == ()


def test_totalsegmentator_has_a_mask_an_organ():
    masks = ("s0001/segmentations/liver.nii.gz", "s0001/segmentations/spleen.nii.gz")
    layout = detect_layout(["s0001/ct.nii.gz", *masks, "s0002/ct.nii.gz"])
    assert [(f.case, f.image, f.labels) for f in layout.cases] == [("s0001", "s0001/ct.nii.gz", masks)]
    assert layout.left_out == (("s0002/ct.nii.gz", "no segmentations/ beside it"),)


@pytest.mark.parametrize("labels", ["labels/p1.nii.gz", "p1.nii.gz", "p1_seg.nii.gz", "images/p1/seg.nii.gz"])
def test_a_dicom_folder_goes_with_the_labels_of_its_name(labels):
    slices = [f"images/p1/{n}.dcm" for n in range(3)]
    assert pairs(*slices, labels) == {"p1": ("images/p1/", labels)}


def test_dicom_files_without_a_suffix_are_known_by_their_number():
    assert pairs(*[f"p1/IM{n}" for n in range(5)], "p1_seg.nii.gz") == {"p1": ("p1/", "p1_seg.nii.gz")}


def test_label_maps_without_images_are_cases():
    layout = detect_layout(["s0327.json", "s0327.nii.gz", "s0328.nii.gz"])
    assert [(f.case, f.image, f.sidecar) for f in layout.cases] == [
        ("s0327", None, "s0327.json"),
        ("s0328", None, None),
    ]
    assert layout.name == "label maps without images"


def test_what_has_no_partner_is_left_out_with_the_reason():
    layout = detect_layout(["images/a_0000.nii.gz", "labels/a.nii.gz", "images/b_0000.nii.gz", "labels/c.nii.gz"])
    assert layout.left_out == (
        ("images/b_0000.nii.gz", "no labels with this name"),
        ("labels/c.nii.gz", "no image with this name"),
    )


def test_two_candidates_for_one_place_are_not_guessed_between():
    layout = detect_layout(["images/a_0000.nii.gz", "labels/a.nii.gz", "labels/a.mha"])
    assert layout.cases == () and "list them in a CSV" in layout.left_out[0][1]
