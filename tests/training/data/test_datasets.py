"""Datasets from disk: the same arrays from a folder, a zip, DICOM, masks or a CSV, and errors that say what to do."""

import json
import zipfile
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from tiny import FLARE, ORGANS, RECIPE, SHAPE, SPACING, flare, patient, renumbered, stored, write

from abdoseg.anatomy.organs import BY_NAME, MAIN
from abdoseg.errors import DatasetError, GeometryError, ScanError
from abdoseg.training.data.collect import LARGEST_ML, DatasetRequest, adapt_recipe, collect_datasets, prepare_dataset
from abdoseg.training.data.datasets import annotated_by, read_dataset
from abdoseg.training.data.file_tree import list_tree
from abdoseg.training.data.preprocess import read_case

PLAN = RECIPE.plan()


def arrays(root, labels="auto"):
    (case, *_) = read_dataset(root, labels).cases
    return read_case(case, PLAN).arrays


def test_flare22_arrays_are_hu_and_our_numbers(tmp_path):
    hu, labels = patient(0)
    read = arrays(flare(tmp_path, 1))
    assert (read["labels"] == labels).all() and (read["image"] == hu).all()
    assert read["image"].dtype == np.int16 and read["labels"].dtype == np.uint8


def test_a_zip_is_read_in_place_and_gives_the_same(tmp_path, monkeypatch):
    folder = flare(tmp_path / "FLARE22", 2)
    with zipfile.ZipFile(tmp_path / "FLARE22.zip", "w") as archive:
        for path in sorted(folder.rglob("*.nii.gz")):
            archive.write(path, path.relative_to(tmp_path))
        archive.writestr("__MACOSX/FLARE22/images/._case0_0000.nii.gz", b"junk")
    zipped = arrays(tmp_path / "FLARE22.zip")
    for name, array in arrays(folder).items():
        assert (zipped[name] == array).all()


def test_a_member_of_a_zip_cannot_choose_where_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("images/../../../evil_0000.nii.gz", b"x")
        archive.writestr("labels/evil.nii.gz", b"x")
        archive.writestr("/images/b_0000.nii.gz", b"y")
    tree = list_tree(tmp_path / "evil.zip")
    assert tree.names == ("/images/b_0000.nii.gz", "labels/evil.nii.gz")
    with tree.opened("/images/b_0000.nii.gz") as path:
        assert path.parent.name.startswith("abdoseg-") and path.read_bytes() == b"y"
    assert not path.exists()


def test_masks_of_organs_become_one_map(tmp_path):
    hu, labels = patient(0)
    write(tmp_path / "s1" / "ct.nii.gz", hu)
    for name in ORGANS:
        write(tmp_path / "s1" / "segmentations" / f"{name}.nii.gz", (labels == BY_NAME[name].label).astype(np.uint8))
    write(tmp_path / "s1" / "segmentations" / "rib_left_7.nii.gz", np.ones(SHAPE, np.uint8))
    (case,) = read_dataset(tmp_path).cases
    assert case.annotated == MAIN
    assert (read_case(case, PLAN).arrays["labels"] == labels).all()


def test_merged_kidneys_are_split_by_the_patients_side(tmp_path):
    hu, labels = patient(0)
    merged = np.isin(labels, (2, 3)).astype(np.uint8)
    where = stored(spacing=(10.0, 10.0, 8.0))
    write(tmp_path / "case_1" / "imaging.nii.gz", hu, where)
    write(tmp_path / "case_1" / "segmentation.nii.gz", merged, where)
    dataset = read_dataset(tmp_path)
    assert dataset.scheme == "kits" and dataset.cases[0].annotated == ("kidney_right", "kidney_left")
    read = read_case(dataset.cases[0], replace(PLAN, spacing_mm=(10.0, 10.0, 8.0))).arrays["labels"]
    assert (read == np.where(np.isin(labels, (2, 3)), labels, 0)).all()


def test_a_csv_lists_pairs_patients_and_what_was_annotated(tmp_path):
    hu, labels = patient(0)
    write(tmp_path / "a.nii.gz", hu)
    write(tmp_path / "b.nii.gz", renumbered(labels, FLARE))
    (tmp_path / "pairs.csv").write_text(
        "case,image,labels,patient,scheme,annotated,weight\n"
        "one,a.nii.gz,b.nii.gz,P,flare22,liver spleen,2\n"
        "two,a.nii.gz,missing.nii.gz,P,flare22,,\n"
    )
    dataset = read_dataset(tmp_path / "pairs.csv")
    (case,) = dataset.cases
    assert (case.name, case.patient, case.weight, case.annotated) == ("one", "P", 2.0, ("liver", "spleen"))
    assert dataset.left_out == (("missing.nii.gz", "no such file: missing.nii.gz"),)
    (tmp_path / "bad.csv").write_text("scan,truth\na,b\n")
    with pytest.raises(DatasetError, match="columns image and labels"):
        read_dataset(tmp_path / "bad.csv")


def test_tissues_follow_what_a_csv_says_is_annotated(tmp_path):
    flare(tmp_path, 1)
    recipe, tissues = replace(RECIPE, synthetic=0.5), []
    for annotated in ("liver spleen", "liver"):
        row = f"images/case0_0000.nii.gz,labels/case0.nii.gz,flare22,{annotated}"
        (tmp_path / "pairs.csv").write_text(f"image,labels,scheme,annotated\n{row}\n")
        (case,) = collect_datasets([DatasetRequest(tmp_path / "pairs.csv")], recipe, tmp_path / "cache").cache.cases
        tissues.append(np.array(case.array("tissues")))
    assert (tissues[0] != tissues[1]).any()


def test_prepared_data_keeps_what_its_csv_says_of_weights_and_of_organs_that_are_nowhere(tmp_path):
    scan, labels = patient(0)
    write(tmp_path / "a_0000.nii.gz", scan)
    write(tmp_path / "a.nii.gz", renumbered(labels, FLARE))
    rows = "image,labels,scheme,annotated,weight\na_0000.nii.gz,a.nii.gz,flare22,liver stomach,0.25\n"
    (tmp_path / "pairs.csv").write_text(rows)
    packed = collect_datasets([DatasetRequest(tmp_path / "pairs.csv")], RECIPE, tmp_path / "cache")
    (folder,) = {case.folder for case in packed.cache.cases}
    again = collect_datasets([DatasetRequest(folder.parent, weight=2.0)], RECIPE, tmp_path / "other")
    assert [case.annotated for case in again.cache.cases] == [("liver", "stomach")]  # the labels hold no stomach
    assert list(again.weights.values()) == [0.5]
    assert again.cache.digest() == packed.cache.digest()


def test_a_csv_may_name_a_dicom_folder_or_no_image(tmp_path):
    _, labels = patient(0)
    write(tmp_path / "b.nii.gz", renumbered(labels, FLARE))
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct" / "1.dcm").write_bytes(b"one")
    (tmp_path / "pairs.csv").write_text("image,labels,scheme\nct,b.nii.gz,flare22\n,b.nii.gz,flare22\n")
    folder, alone = read_dataset(tmp_path / "pairs.csv").cases
    assert (folder.image, alone.image) == ("ct/", None)
    before = folder.stamp()
    (tmp_path / "ct" / "1.dcm").write_bytes(b"another")
    assert read_dataset(tmp_path / "pairs.csv").cases[0].stamp() != before


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("image,labels,weight\n,b.nii.gz,heavy\n", "the weight 'heavy' is no number above 0"),
        ("image,labels,weight\n,b.nii.gz,-1\n", "the weight '-1' is no number above 0"),
        ("image,labels,annotated\n,b.nii.gz,livr spleen\n", "annotated for livr, which is no organ here"),
        ("image,labels,case\n,b.nii.gz,M\u00fcller\n", "save it as such"),
        ("image,labels,case\n,b.nii.gz,../../evil\n", "the case '../../evil' cannot name a file"),
        ("image,labels,case\n,b.nii.gz,..\n", "the case '..' cannot name a file"),
    ],
)
def test_what_is_wrong_in_a_csv_is_reported(tmp_path, rows, message):
    _, labels = patient(0)
    write(tmp_path / "b.nii.gz", renumbered(labels, FLARE))
    (tmp_path / "bad.csv").write_text(rows, encoding="latin-1")
    with pytest.raises(DatasetError, match=message):
        read_dataset(tmp_path / "bad.csv")


def test_spaces_around_a_cell_do_not_matter(tmp_path):
    _, labels = patient(0)
    write(tmp_path / "b.nii.gz", renumbered(labels, FLARE))
    (tmp_path / "pairs.csv").write_text("image,labels\n , b.nii.gz \n")
    assert len(read_dataset(tmp_path / "pairs.csv").cases) == 1


def test_two_datasets_in_one_folder_are_told_to_be_named_apart(tmp_path):
    for name in ("A", "B"):
        write(tmp_path / name / "imagesTr" / f"{name}_0000.nii.gz", patient(0)[0])
        write(tmp_path / name / "labelsTr" / f"{name}.nii.gz", patient(0)[1])
        (tmp_path / name / "dataset.json").write_text('{"labels": {"liver": 1}}')
    with pytest.raises(DatasetError, match="give each its own --data"):
        read_dataset(tmp_path)


def test_what_is_odd_in_labels_is_reported_every_time(tmp_path, monkeypatch):
    data = flare(tmp_path / "data", 2)
    write(data / "labels" / "case1.nii.gz", np.zeros(SHAPE, np.uint8))
    for _ in range(2):
        collected = collect_datasets([DatasetRequest(data)], RECIPE, tmp_path / "cache")
        assert collected.remarks == ("case1: its labels hold no organ at all; leave it out if nobody drew them",)
    monkeypatch.setitem(LARGEST_ML, "pancreas", 10)
    large = {"liver": 4, "kidney_right": 2, "spleen": 3, "kidney_left": 13}  # the liver under the pancreas's number
    write(data / "labels" / "case1.nii.gz", renumbered(patient(1)[1], large))
    write(data / "labels" / "case0.nii.gz", renumbered(patient(0)[1], large))
    remarks = collect_datasets([DatasetRequest(data)], RECIPE, tmp_path / "cache").remarks
    assert any(remark.startswith("pancreas: ") and "another scheme" in remark for remark in remarks)


@pytest.mark.parametrize(("number", "message"), [(257, "label 257, where"), (2.5, "has fractions")])
def test_a_label_map_alone_must_hold_small_whole_numbers(tmp_path, number, message):
    _, labels = patient(0)
    write(tmp_path / "b.nii.gz", np.where(labels == 1, number, labels.astype(np.float32)))
    (tmp_path / "pairs.csv").write_text("image,labels\n,b.nii.gz\n")
    with pytest.raises(ScanError, match=message):
        read_case(read_dataset(tmp_path / "pairs.csv").cases[0], PLAN)


def test_a_label_map_alone_gives_labels_and_tissues(tmp_path):
    _, labels = patient(0)
    raw = renumbered(labels, {"liver": 7, "spleen": 9, "kidney_right": 1, "kidney_left": 2})
    raw[11, 3, :] = 20
    write(tmp_path / "s1.nii.gz", raw)
    names = {"liver": 7, "spleen": 9, "kidney_right": 1, "kidney_left": 2, "vertebrae_L1": 20}
    (tmp_path / "s1.json").write_text(json.dumps(names))
    (case,) = read_dataset(tmp_path).cases
    read = read_case(case, PLAN)
    assert set(read.arrays) == {"labels", "tissues"} and case.annotated == MAIN
    assert read.arrays["labels"].shape == (38, 34, 16)  # 40 mm are 7 voxels more at the sides, front and back
    assert (read.arrays["labels"][7:-7, 7:-7] == labels).all() and not read.arrays["labels"][:7].any()


def test_a_label_map_alone_may_lie_in_any_file_that_a_scan_may(tmp_path):
    _, labels = patient(0)
    header = (
        f"NRRD0004\ntype: uint8\ndimension: 3\nspace: right-anterior-superior\nsizes: {' '.join(map(str, SHAPE))}\n"
        "space directions: (6,0,0) (0,6,0) (0,0,8)\nencoding: raw\n\n"
    )
    (tmp_path / "s1.nrrd").write_bytes(header.encode() + labels.tobytes(order="F"))
    (tmp_path / "s1.json").write_text(json.dumps({name: BY_NAME[name].label for name in MAIN}))
    (case,) = read_dataset(tmp_path).cases
    read = read_case(case, PLAN)
    assert case.image is None and (read.arrays["labels"][7:-7, 7:-7] == labels).all()


def test_labels_that_the_json_beside_a_map_contradicts_are_refused(tmp_path):
    write(tmp_path / "s1.nii.gz", patient(0)[1])
    (tmp_path / "s1.json").write_text(json.dumps({name: BY_NAME[name].label for name in MAIN}))
    with pytest.raises(DatasetError, match=r"--labels totalseg, but s1\.json says that 1 is liver, not spleen, 4 is"):
        read_dataset(tmp_path, "totalseg")
    for labels in ("abdoseg", "auto"):
        assert read_dataset(tmp_path, labels).cases[0].annotated[:4] == MAIN


def with_table(path, labels, names):
    """Labels whose NIfTI header names their numbers, as TotalSegmentator writes them."""
    image = nibabel.Nifti1Image(labels, np.diag([6.0, 6, 8, 1]))
    table = "".join(f'<Label Key="{number}"><![CDATA[{name}]]></Label>' for name, number in names.items())
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, f"<LabelTable>{table}</LabelTable>".encode()))
    nibabel.save(image, path)


def test_the_header_of_labels_names_their_numbers_alone_and_in_a_csv(tmp_path):
    names = {"liver": 7, "spleen": 9, "kidney_right": 1, "kidney_left": 2}
    with_table(tmp_path / "s1.nii.gz", renumbered(patient(0)[1], names), names)
    (tmp_path / "pairs.csv").write_text("image,labels\n,s1.nii.gz\n")
    for root in (tmp_path, tmp_path / "pairs.csv"):
        (case,) = read_dataset(root).cases
        assert (read_case(case, PLAN).arrays["labels"][7:-7, 7:-7] == patient(0)[1]).all()
    with pytest.raises(
        DatasetError, match=r"--labels abdoseg, but the header of s1\.nii\.gz says that 1 is kidney_right"
    ):
        read_dataset(tmp_path, "abdoseg")


def test_label_maps_without_known_numbers_are_refused(tmp_path):
    write(tmp_path / "s1.nii.gz", patient(0)[1])
    with pytest.raises(DatasetError, match=r"no image has its name, .*state them with --labels"):
        read_dataset(tmp_path)


def test_a_scheme_with_only_the_liver_annotates_only_the_liver():
    assert annotated_by({1: "liver", 2: "liver_tumour"}) == ("liver", "liver_tumour")
    assert annotated_by({1: "kidney"}) == ("kidney_right", "kidney_left")


def test_labels_on_another_grid_are_an_error_with_the_numbers(tmp_path):
    hu, labels = patient(0)
    write(tmp_path / "images" / "x_0000.nii.gz", hu)
    write(tmp_path / "labels" / "x.nii.gz", renumbered(labels, FLARE), stored(origin=(0.0, 12.0, 0.0)))
    (case,) = read_dataset(tmp_path).cases
    with pytest.raises(GeometryError, match=r"24 x 20 x 16 voxels of 6 x 6 x 8 mm.*12\.0 mm apart.*--resample-labels"):
        read_case(case, PLAN)
    moved = read_case(case, PLAN, realign=True).arrays["labels"]
    assert (moved[:, 2:] == labels[:, :-2]).all()
    write(tmp_path / "labels" / "x.nii.gz", labels[..., :-1], stored(shape=(24, 20, 15)))
    with pytest.raises(GeometryError, match=r"24 x 20 x 15 voxels"):
        read_case(read_dataset(tmp_path).cases[0], PLAN)


def test_a_case_that_cannot_be_read_stops_or_is_left_out(tmp_path):
    flare(tmp_path / "data", 2)
    (tmp_path / "data" / "images" / "case1_0000.nii.gz").write_bytes(b"\x1f\x8bbroken")
    with pytest.raises(ScanError, match=r"case1: .*--keep-going"):
        collect_datasets([DatasetRequest(tmp_path / "data")], RECIPE, tmp_path / "cache")
    collected = collect_datasets([DatasetRequest(tmp_path / "data")], RECIPE, tmp_path / "cache", keep_going=True)
    assert [case.case for case in collected.cache.cases] == ["case0"]
    assert collected.left_out[0][0] == "case1"


def test_an_organ_that_no_case_shows_was_not_looked_for(tmp_path):
    collected = collect_datasets([DatasetRequest(flare(tmp_path / "data", 2))], RECIPE, tmp_path / "cache")
    assert collected.cache.cases[0].annotated == MAIN  # the scheme has 13 organs
    with pytest.raises(DatasetError, match=r"annotated for pancreas; annotated are .*liver"):
        adapt_recipe(RECIPE, collected.cache, ["pancreas"])
    weighed = replace(RECIPE, organs=("aorta", *MAIN), class_weights=(0, 5, 1, 2, 3, 4))
    adapted = adapt_recipe(weighed, collected.cache, None)
    assert (adapted.organs, adapted.class_weights) == (MAIN, (0, 1, 2, 3, 4))
    assert adapt_recipe(RECIPE, collected.cache, ["spleen"]).output_organs == ("spleen",)


def test_a_dataset_of_healthy_livers_is_annotated_for_tumours(tmp_path):
    data = flare(tmp_path / "data", 1)
    collected = collect_datasets([DatasetRequest(data, healthy_liver=True)], RECIPE, tmp_path / "cache")
    assert collected.cache.cases[0].annotated == (*MAIN, "liver_tumour")
    labels = patient(0)[1]
    labels[17, 12, 9] = BY_NAME["liver_tumour"].label
    write(data / "labels" / "case0.nii.gz", labels)
    with pytest.raises(DatasetError, match="case0: its dataset is said to have healthy livers"):
        collect_datasets([DatasetRequest(data, "abdoseg", healthy_liver=True)], RECIPE, tmp_path / "cache")


def test_whole_scans_are_resized_to_the_patch(tmp_path):
    config = replace(RECIPE, spacing_mm=None, patch=(16, 16, 8))
    dataset = read_dataset(flare(tmp_path / "data", 1))
    (case,), _ = prepare_dataset(dataset, config, tmp_path / "cache")
    assert case.shape == (16, 16, 8)
    assert case.spacing_mm == (9.0, 7.5, 16.0)


def test_two_datasets_may_not_share_a_case_name(tmp_path):
    requests = [DatasetRequest(flare(tmp_path / "a", 1)), DatasetRequest(flare(tmp_path / "b", 1))]
    with pytest.raises(DatasetError, match="two cases are called case0"):
        collect_datasets(requests, RECIPE, tmp_path / "cache")


def test_prepared_data_needs_no_scans(tmp_path):
    data = flare(tmp_path / "data", 2)
    collected = collect_datasets([DatasetRequest(data)], RECIPE, tmp_path / "cache")
    for path in data.rglob("*.nii.gz"):
        path.unlink()
    again = collect_datasets([DatasetRequest(tmp_path / "cache", weight=2.0)], RECIPE, tmp_path / "elsewhere")
    assert again.cache.digest() == collected.cache.digest() and again.weights == {"case0": 2.0, "case1": 2.0}
    folder = again.cache.cases[0].folder
    (folder / "case0.image.npy").write_bytes(b"short")
    with pytest.raises(DatasetError, match=r"damaged \(case0\)"):
        collect_datasets([DatasetRequest(folder)], RECIPE, tmp_path / "elsewhere")


def test_labels_of_one_to_four_alone_may_be_our_own(tmp_path):
    data = flare(tmp_path / "data", 1)
    write(data / "labels" / "case0.nii.gz", patient(0)[1])  # our numbers
    (remark, *_) = collect_datasets([DatasetRequest(data)], RECIPE, tmp_path / "cache").remarks
    assert "pass --labels abdoseg" in remark
    assert collect_datasets([DatasetRequest(data, "abdoseg")], RECIPE, tmp_path / "cache").remarks == ()


def test_labels_of_one_to_five_alone_may_be_our_own_with_tumours(tmp_path):
    hu, labels = patient(0)
    labels[tuple(np.argwhere(labels == 1)[0])] = 5
    write(tmp_path / "data" / "images" / "case0_0000.nii.gz", hu)
    write(tmp_path / "data" / "labels" / "case0.nii.gz", labels)
    (remark, *_) = collect_datasets([DatasetRequest(tmp_path / "data")], RECIPE, tmp_path / "cache").remarks
    assert "labels of 1 to 5 alone, taken as FLARE22's" in remark and "pass --labels abdoseg" in remark


def test_a_scan_that_lacks_an_organ_of_the_others_is_told_unless_a_csv_says_so(tmp_path):
    data, labels = flare(tmp_path / "data", 3), patient(0)[1]
    write(data / "labels" / "case0.nii.gz", renumbered(labels, {"liver": 1, "kidney_right": 2, "kidney_left": 13}))
    (remark,) = collect_datasets([DatasetRequest(data)], RECIPE, tmp_path / "cache").remarks
    assert "spleen: 1 of 3 labelled scans have none (case0), and teach that none is there" in remark
    rows = [f"images/case{n}_0000.nii.gz,labels/case{n}.nii.gz,flare22,{'liver' * (not n)}" for n in range(3)]
    (data / "pairs.csv").write_text("\n".join(["image,labels,scheme,annotated", *rows]))
    assert collect_datasets([DatasetRequest(data / "pairs.csv")], RECIPE, tmp_path / "cache").remarks == ()


def test_linked_folders_are_read_and_a_link_in_a_circle_is_not_followed(tmp_path):
    data = flare(tmp_path / "data", 2)
    (tmp_path / "linked").mkdir()
    for name in ("images", "labels"):
        (tmp_path / "linked" / name).symlink_to(data / name)
    (data / "images" / "back").symlink_to(data)
    assert len(read_dataset(tmp_path / "linked").cases) == 2
    assert list_tree(data).names == list_tree(tmp_path / "linked").names[:4]


def test_liver_tumours_without_a_scheme_are_not_taken_for_right_kidneys(tmp_path):
    hu, labels = patient(0)
    labels = np.where(labels == 1, 1, 0).astype(np.uint8)
    labels[17, 12, 9] = 2
    for n in range(2):
        write(tmp_path / "Task03" / "imagesTr" / f"liver_{n}.nii.gz", hu)
        write(tmp_path / "Task03" / "labelsTr" / f"liver_{n}.nii.gz", labels)
    request = DatasetRequest(tmp_path / "Task03")
    with pytest.raises(DatasetError) as raised:
        collect_datasets([request], RECIPE, tmp_path / "cache")
    for part in ("1, 2 alone", "names say liver", "--labels", "msd-liver (1 liver, 2 liver_tumour)",
                 "flare22 (1 liver, 2 kidney_right)"):  # fmt: skip
        assert part in str(raised.value)
    stated = collect_datasets([replace(request, labels="msd-liver")], RECIPE, tmp_path / "cache")
    assert "labels msd-liver, 2 cases: 1 liver, 2 liver_tumour" in stated.datasets[0]
    (tmp_path / "Task03" / "dataset.json").write_text('{"labels": {"0": "background", "1": "liver", "2": "cancer"}}')
    own = collect_datasets([request], RECIPE, tmp_path / "cache")
    assert own.cache.cases[0].annotated == ("liver", "liver_tumour")


@pytest.mark.parametrize(("numbers", "ambiguous"), [((1,), True), ((1, 2, 3), True), ((1, 2, 3, 13), False)])
def test_few_numbers_without_a_scheme_are_ambiguous(tmp_path, numbers, ambiguous):
    _, labels = patient(0)
    hu, mapped = patient(0)[0], np.zeros_like(labels)
    for ours, number in zip((1, 2, 4, 3), numbers, strict=False):
        mapped[labels == ours] = number
    write(tmp_path / "data" / "images" / "a_0000.nii.gz", hu)
    write(tmp_path / "data" / "labels" / "a.nii.gz", mapped)
    if not ambiguous:
        data = collect_datasets([DatasetRequest(tmp_path / "data")], RECIPE, tmp_path / "cache")
        assert "labels flare22, 1 cases: 1 liver, 2 kidney_right, 3 spleen, 13 kidney_left" in data.datasets[0]
        return
    with pytest.raises(DatasetError, match="nothing says what they mean") as raised:
        collect_datasets([DatasetRequest(tmp_path / "data")], RECIPE, tmp_path / "cache")
    assert "names say" not in str(raised.value)
    assert collect_datasets([DatasetRequest(tmp_path / "data", "flare22")], RECIPE, tmp_path / "cache").cache.cases


def test_data_prepared_for_another_grid_says_so(tmp_path):
    collect_datasets([DatasetRequest(flare(tmp_path / "data", 1))], RECIPE, tmp_path / "cache")
    other = replace(RECIPE, spacing_mm=(5.0, 5.0, 5.0))
    with pytest.raises(DatasetError, match=r"prepared for .*mm, but the recipe wants 5x5x5mm"):
        collect_datasets([DatasetRequest(tmp_path / "cache")], other, tmp_path / "elsewhere")


def test_one_scan_under_two_names_is_one_patient(tmp_path):
    data = flare(tmp_path / "data", 2)
    hu, labels = patient(0)
    write(data / "images" / "copy_0000.nii.gz", hu)
    write(data / "labels" / "copy.nii.gz", renumbered(labels, FLARE))
    patients = collect_datasets([DatasetRequest(data)], RECIPE, tmp_path / "cache").patients
    assert patients["copy"] == patients["case0"] != patients["case1"]


def test_numbers_of_another_scheme_are_suspected(tmp_path):
    collected = collect_datasets(
        [DatasetRequest(flare(tmp_path / "data", 1), labels="btcv")], RECIPE, tmp_path / "cache"
    )
    assert collected.remarks == ()  # liver became spleen: no liver to compare with
    swapped = collect_datasets(
        [DatasetRequest(flare(tmp_path / "more", 1), labels=str(_swapped(tmp_path)))], RECIPE, tmp_path / "cache"
    )
    assert "smaller than the spleen" in swapped.remarks[-1]
    assert "case0: labels 2, 13 are not in its scheme" in swapped.remarks[0]


def _swapped(folder):
    path = folder / "swapped.json"
    path.write_text('{"spleen": 1, "liver": 3}')
    return path


def test_spacing_mm_is_the_grids(tmp_path):
    (case,) = read_dataset(flare(tmp_path, 1)).cases
    assert read_case(case, PLAN).spacing_mm == SPACING
