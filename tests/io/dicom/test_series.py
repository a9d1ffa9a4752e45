"""Finding the CT in what a hospital exports: folders of everything, several series, phases in one series."""

import os
import shutil
import zipfile

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from phantom_dicom import AXIAL, COMPANY, body, stored_array, write_series

from abdoseg.errors import ScanError, SeriesError
from abdoseg.io import read_scan
from abdoseg.io.dicom.series import catalogue, choose
from abdoseg.io.scan_source import ScanSource

HU = body((40, 36, 8))
COARSE = AXIAL @ np.diag([1, 1, 2, 1.0])
CORONAL = np.array([[-1.0, 0, 0, 60], [0, 0, 2.5, -40], [0, -1.0, 0, 50], [0, 0, 0, 1]])


@pytest.mark.parametrize("kind", COMPANY)
def test_what_is_no_ct_is_left_out_and_named(tmp_path, kind):
    write_series(tmp_path, HU, company=[kind])
    volume = read_scan(tmp_path)
    assert np.array_equal(stored_array(volume), HU)
    words = {"pet": "PET", "seg": "SEG", "mr": "MR", "rtstruct": "RTSTRUCT"}
    ((word, count),) = volume.details["left_out"].items()
    assert words.get(kind, kind.replace("_", " ")) in word
    assert count == 1


def test_a_localizer_a_dicomdir_and_stray_files_do_not_disturb(tmp_path):
    write_series(tmp_path, HU, localizer=True, dicomdir=True)
    (tmp_path / "notes.txt").write_text("a text")
    (tmp_path / "empty.log").touch()
    (tmp_path / "autorun.inf").write_bytes(bytes(range(256)) * 3)
    volume = read_scan(tmp_path)
    assert np.array_equal(stored_array(volume), HU)
    assert volume.details["left_out"] == {"localizer": 1, "DICOMDIR": 1, "file that is no DICOM": 2}


def test_names_say_nothing_without_suffix_odd_or_not_ascii(tmp_path):
    names = ["IM 1", "žluť.dcm", "スライス", "a.b.c", "I10", "-x", "CT.1.2.3", "ünïcode.DCM"]
    write_series(tmp_path / "Üntersuchung 1" / "DICOM", HU, names=lambda at: names[at])
    assert np.array_equal(stored_array(read_scan(tmp_path)), HU)


def test_slices_spread_over_a_tree_are_one_series(tmp_path):
    write_series(tmp_path, HU, names=lambda at: f"S{at % 3}/deep/IM{at}")
    assert np.array_equal(stored_array(read_scan(tmp_path)), HU)


def test_a_cycle_of_links_ends(tmp_path):
    write_series(tmp_path / "ct", HU)
    (tmp_path / "ct" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    assert np.array_equal(stored_array(read_scan(tmp_path)), HU)


def test_a_pipe_in_the_folder_is_not_waited_for(tmp_path):
    write_series(tmp_path, HU)
    os.mkfifo(tmp_path / "pipe")
    assert np.array_equal(stored_array(read_scan(tmp_path)), HU)


def test_files_without_the_dicm_prefix_are_read(tmp_path):
    for file in write_series(tmp_path, HU):
        file.write_bytes(file.read_bytes()[132:])
    assert np.array_equal(stored_array(read_scan(tmp_path)), HU)


def test_a_dicomdir_stands_for_its_folder(tmp_path):
    write_series(tmp_path, HU, dicomdir=True)
    assert np.array_equal(stored_array(read_scan(tmp_path / "DICOMDIR")), HU)


def test_images_that_a_dicomdir_lists_and_the_folder_lacks_are_counted(tmp_path):
    files = write_series(tmp_path, HU, dicomdir=True)
    by_place = sorted(files, key=lambda file: float(pydicom.dcmread(file).ImagePositionPatient[2]))
    by_place[-1].unlink()  # at the end, where geometry cannot tell
    for path in (tmp_path, tmp_path / "DICOMDIR"):
        assert any("1 of 8 images that the DICOMDIR lists are not there" in note for note in read_scan(path).notes)


@pytest.mark.parametrize("root", [(), ("DICOM",), ("A", "DICOM")])
def test_a_dicomdirs_paths_may_start_above_its_own_folder(tmp_path, root):
    files = write_series(tmp_path, HU, dicomdir=True)
    directory = pydicom.dcmread(tmp_path / "DICOMDIR")
    for record in directory.DirectoryRecordSequence:
        name = record.ReferencedFileID
        record.ReferencedFileID = [*root, *([name] if isinstance(name, str) else name)]
    directory.save_as(tmp_path / "DICOMDIR")
    assert read_scan(tmp_path).notes == ()
    files[0].unlink()
    assert any("1 of 8 images that the DICOMDIR lists are not there" in note for note in read_scan(tmp_path).notes)


def test_a_zip_is_read_without_unpacking(tmp_path):
    write_series(tmp_path / "ct", HU, localizer=True, company=["rtstruct"])
    archive = shutil.make_archive(str(tmp_path / "export"), "zip", tmp_path / "ct")
    before = sorted(tmp_path.rglob("*"))
    assert np.array_equal(stored_array(read_scan(archive)), HU)
    assert sorted(tmp_path.rglob("*")) == before


def test_several_series_are_listed_and_the_axial_one_with_most_slices_is_taken(tmp_path):
    write_series(tmp_path / "a", HU[:, :, :5])
    write_series(tmp_path / "b", HU)
    write_series(tmp_path / "c", body((40, 36, 12)), CORONAL)
    one_study(tmp_path)
    volume = read_scan(tmp_path)
    assert np.array_equal(stored_array(volume), HU)
    assert volume.details["why"] == "most slices"
    assert [row["slices"] for row in volume.details["series"]] == [8, 5, 12]
    assert [row["axial"] for row in volume.details["series"]] == [True, True, False]
    (note,) = volume.notes
    assert note.startswith("3 CT series: took 1: 8 slices of 40 x 36, 1.00 x 1.00 x 2.50 mm, axial (most slices)")
    assert "2: 5 slices" in note


def one_study(folder):
    """Gives every file under `folder` the same study."""
    for file in folder.rglob("*.dcm"):
        dataset = pydicom.dcmread(file)
        dataset.StudyInstanceUID = "1.2.3"
        dataset.save_as(file)


def test_of_equal_counts_the_thin_and_of_equal_slices_the_soft_kernel_is_taken(tmp_path):
    write_series(tmp_path / "a", HU, COARSE)
    write_series(tmp_path / "b", HU[::-1])
    write_series(tmp_path / "c", body((40, 36, 12)), tags={"ConvolutionKernel": "B70f"})
    one_study(tmp_path)
    volume = read_scan(tmp_path)
    assert np.array_equal(stored_array(volume), HU[::-1])
    assert volume.details["why"] == "thinnest"
    assert volume.details["series"][2]["sharp_kernel"] is True


@pytest.mark.parametrize("words", [["AXIAL", "MIP"], ["MPR", "CSA MIP"], ["VOLUME", "MAXIMUM"]])
def test_an_intensity_projection_is_not_taken_however_many_slices_it_has(tmp_path, words):
    write_series(tmp_path / "ct", HU)
    write_series(tmp_path / "mip", body((40, 36, 20)), tags={"ImageType": ["DERIVED", "SECONDARY", *words]})
    one_study(tmp_path)
    volume = read_scan(tmp_path)
    assert np.array_equal(stored_array(volume), HU)
    assert volume.details["why"] == "no intensity projection"
    assert "2: 20 slices of 40 x 36, 1.00 x 1.00 x 2.50 mm, axial, intensity projection" in volume.notes[0]


def test_a_series_is_had_by_number_or_uid(tmp_path):
    write_series(tmp_path / "a", HU)
    write_series(tmp_path / "b", HU[:, :, :5])
    one_study(tmp_path)
    wanted = catalogue(tmp_path).series[1]
    for name in ("2", wanted.uid):
        volume = read_scan(tmp_path, series=name)
        assert volume.voxels.shape[2] == 5
        assert volume.notes == ()
    with pytest.raises(SeriesError, match=r"no series 7; there are:\n  1: 8 slices .*\n  2: 5 slices"):
        read_scan(tmp_path, series="7")


def test_several_studies_are_not_guessed_between(tmp_path):
    write_series(tmp_path / "patient a", HU)
    write_series(tmp_path / "patient b", HU[:, :, :5])
    with pytest.raises(
        SeriesError, match=r"2 CT series of 2 studies; name each patient's folder, .*\n.*, in patient a\n"
    ):
        read_scan(tmp_path)


def test_phases_in_one_series_are_kept_apart_by_acquisition(tmp_path):
    write_series(tmp_path / "arterial", HU, tags={"AcquisitionNumber": 4})
    write_series(tmp_path / "venous", HU[::-1], tags={"AcquisitionNumber": 5})
    one_series(tmp_path)
    volume = read_scan(tmp_path)
    assert len(volume.details["series"]) == 2
    assert volume.details["why"] == "the first of equals"
    first, second = stored_array(volume), stored_array(read_scan(tmp_path, series="2"))
    assert np.array_equal(first, HU) != np.array_equal(second, HU)
    assert np.array_equal(first, HU[::-1]) != np.array_equal(second, HU[::-1])


def test_phases_whose_positions_differ_a_little_are_kept_apart_too(tmp_path):
    shifted = AXIAL.copy()
    shifted[2, 3] += 0.3
    write_series(tmp_path / "arterial", HU, tags={"AcquisitionNumber": 4})
    write_series(tmp_path / "venous", HU[::-1], shifted, tags={"AcquisitionNumber": 5})
    one_series(tmp_path)
    got = [stored_array(read_scan(tmp_path, series=number)) for number in "12"]
    assert sorted(array.tobytes() for array in got) == sorted(array.tobytes() for array in (HU, HU[::-1]))


def one_series(folder):
    for file in folder.rglob("*.dcm"):
        dataset = pydicom.dcmread(file)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
        dataset.save_as(file)


def test_acquisitions_that_go_on_one_after_the_other_are_one_series(tmp_path):
    def halves(dataset):
        dataset.AcquisitionNumber = 1 + int(float(dataset.ImagePositionPatient[2]) > -30)

    write_series(tmp_path, HU, change=halves)
    assert np.array_equal(stored_array(read_scan(tmp_path)), HU)


def test_two_orientations_under_one_uid_are_two_series(tmp_path):
    write_series(tmp_path / "axial", HU)
    write_series(tmp_path / "coronal", HU, CORONAL)
    one_series(tmp_path)
    assert len(catalogue(tmp_path).series) == 2
    assert np.array_equal(stored_array(read_scan(tmp_path)), HU)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"ImageType": ["DERIVED", "PRIMARY", "PERFUSION", "RCBF"]}, "series: perfusion map, not HU"),
        ({"RescaleType": "MGML"}, "series: image in MGML, not HU"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "series: colour picture"),
        ({"PixelSpacing": None}, "series: picture without position, orientation or pixel spacing"),
        ({"PixelSpacing": ["0", "0"]}, "series: slice with impossible"),
        ({"ImageOrientationPatient": ["1", "0", "0", "0.5", "0.8660254", "0"]}, "not at right angles"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "series: localizer"),
        ({"Modality": "MR"}, "series: MR, not CT"),
        ({"Modality": "DOE JANE"}, "series: object of no modality, not CT"),
    ],
)
def test_a_folder_without_a_ct_says_what_it_holds_instead(tmp_path, tags, words):
    write_series(tmp_path, HU, tags=tags)
    with pytest.raises(SeriesError, match=words):
        read_scan(tmp_path)


def test_headers_without_pixels_say_so(tmp_path):
    def strip(dataset):
        for keyword in ("PixelData", "Rows", "Columns"):
            delattr(dataset, keyword)

    write_series(tmp_path, HU, change=strip)
    with pytest.raises(SeriesError, match=r"CT header without pixel data \(8\)"):
        read_scan(tmp_path)


def test_slices_of_different_series_are_not_stacked(tmp_path):
    for number in range(3):
        write_series(tmp_path / str(number), HU[:, :, :1])
    with pytest.raises(SeriesError, match="3 CT slices, no 2 of them of one series"):
        read_scan(tmp_path)


def test_bolus_tracking_at_one_position_is_no_series_however_many_slices_it_has(tmp_path):
    write_series(tmp_path / "ct", HU)
    write_series(tmp_path / "tracking", body((40, 36, 20)), positions_mm=[0.0] * 20)
    one_study(tmp_path)
    volume = read_scan(tmp_path)
    assert np.array_equal(stored_array(volume), HU)
    assert volume.details["left_out"] == {"CT slice repeated at one position": 20}
    with pytest.raises(SeriesError, match="20 CT slices, all at one position; name the folder of one whole series"):
        read_scan(tmp_path / "tracking")


def test_an_empty_folder_and_a_folder_of_other_scans_are_kept_apart(tmp_path):
    with pytest.raises(ScanError, match="the folder is empty"):
        read_scan(tmp_path)
    (tmp_path / "a.nii.gz").write_bytes(b"x" * 400)
    with pytest.raises(ScanError, match=r"a\.nii\.gz: not a NIfTI file"):
        read_scan(tmp_path)
    (tmp_path / "b.nii.gz").write_bytes(b"x" * 400)
    with pytest.raises(SeriesError, match=r"no DICOM, but 2 files in other formats; .* a\.nii\.gz"):
        read_scan(tmp_path)


@pytest.mark.parametrize("name", ["a.nii", "sub/a.nii.gz", "a.mha", "a.nrrd"])
@pytest.mark.parametrize("zipped", [False, True])
def test_the_only_scan_file_of_a_folder_or_zip_is_read(tmp_path, name, zipped):
    file = tmp_path / "ct" / name
    file.parent.mkdir(parents=True)
    if name.endswith(("nii", "gz")):
        nibabel.save(nibabel.Nifti1Image(HU, AXIAL), file)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(HU.T), str(file))
    (tmp_path / "ct" / "readme.txt").write_text("a scan")
    path = shutil.make_archive(str(tmp_path / "export"), "zip", tmp_path / "ct") if zipped else tmp_path / "ct"
    volume = read_scan(path)
    assert np.array_equal(stored_array(volume), HU)
    assert volume.details["format"] in ("NIfTI-1", "MetaImage", "NRRD")


def test_what_macos_adds_to_a_zip_is_no_second_scan(tmp_path):
    nibabel.save(nibabel.Nifti1Image(HU, AXIAL), tmp_path / "a.nii.gz")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.nii.gz", "a.nii.gz")
        archive.writestr("__MACOSX/._a.nii.gz", b"\0\5\x16\7" + bytes(200))
    assert np.array_equal(stored_array(read_scan(tmp_path / "a.zip")), HU)


def test_a_zip_under_a_scans_name_in_a_zip_is_refused_with_words(tmp_path):
    for name, member in (("a.nrrd", "b.txt"), ("a.zip", "a.nrrd")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, (tmp_path / "a.nrrd").read_bytes() if name == "a.zip" else b"x")
    with pytest.raises(SeriesError, match=r"a\.zip: a\.nrrd: no CT series: file that is no DICOM \(1\)"):
        ScanSource(tmp_path / "a.zip", "a.nrrd").read()


def test_several_scan_files_in_a_zip_are_named_and_a_damaged_one_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(HU, AXIAL), tmp_path / "a.nii")
    for names in ("ab", "a"):
        with zipfile.ZipFile(tmp_path / f"{names}.zip", "w") as archive:
            for name in names:
                archive.write(tmp_path / "a.nii", f"{name}.nii")
    with pytest.raises(SeriesError, match=r"2 files in other formats; unpack it and name them one by one: a\.nii"):
        read_scan(tmp_path / "ab.zip")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[2000] ^= 1
    (tmp_path / "a.zip").write_bytes(bytes(data))
    with pytest.raises(ScanError, match="damaged zip"):
        read_scan(tmp_path / "a.zip")


class TestHostileZips:
    def zip_of(self, path, name, content=b"x", mode=zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(path, "w", mode) as archive:
            archive.writestr(name, content)
        return path

    @pytest.mark.parametrize(
        "name", ["../evil.dcm", "/etc/evil.dcm", "a/../../evil.dcm", "..\\evil.dcm", "C:/evil.dcm"]
    )
    def test_a_zip_that_escapes_its_folder_is_refused(self, tmp_path, name):
        with pytest.raises(ScanError, match="leads out of the archive"):
            read_scan(self.zip_of(tmp_path / "x.zip", name))
        assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]

    def test_a_member_without_a_name_is_refused(self, tmp_path):
        path = self.zip_of(tmp_path / "x.zip", "a")
        data = path.read_bytes()
        at = data.rindex(b"PK\x01\x02")
        nameless = data[: at + 28] + bytes(2) + data[at + 30 : at + 46] + data[at + 47 :]  # the name's length, the name
        end = nameless.rindex(b"PK\x05\x06")
        size = int.from_bytes(nameless[end + 12 : end + 16], "little") - 1
        path.write_bytes(nameless[: end + 12] + size.to_bytes(4, "little") + nameless[end + 16 :])
        with pytest.raises(ScanError, match="a member of the zip has no name"):
            read_scan(path)

    def test_a_zip_that_claims_an_impossible_expansion_is_refused(self, tmp_path):
        path = self.zip_of(tmp_path / "x.zip", "a.dcm", b"\0" * 1000)
        data = bytearray(path.read_bytes())
        directory = data.rindex(b"PK\x01\x02")
        data[directory + 24 : directory + 28] = (2**31).to_bytes(4, "little")  # the uncompressed size
        path.write_bytes(bytes(data))
        with pytest.raises(ScanError, match="claims to expand"):
            read_scan(path)

    def test_a_zip_that_would_fill_the_disk_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr("abdoseg.io.archive.MAX_ZIP_BYTES", 900)
        with pytest.raises(ScanError, match="would unpack to"):
            read_scan(self.zip_of(tmp_path / "x.zip", "a.dcm", b"\0" * 1000))

    def test_a_zip_of_zeros_costs_no_memory(self, tmp_path):
        path = self.zip_of(tmp_path / "x.zip", "a.dcm", b"\0" * 2**27)
        assert path.stat().st_size < 200_000
        with pytest.raises(SeriesError, match=r"file that is no DICOM \(1\)"):
            read_scan(path)

    def test_a_damaged_an_empty_an_encrypted_and_an_oddly_packed_zip_are_kept_apart(self, tmp_path):
        path = self.zip_of(tmp_path / "x.zip", "a.dcm", b"text")
        whole = path.read_bytes()
        path.write_bytes(whole[:-10])
        with pytest.raises(ScanError, match="damaged zip"):
            read_scan(path)
        locked = bytearray(whole)
        locked[whole.rindex(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(bytes(locked))
        with pytest.raises(ScanError, match="encrypted"):
            read_scan(path)
        path.write_bytes(whole)
        for signature, field in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
            packed = bytearray(path.read_bytes())
            packed[packed.index(signature) + field] = 9  # Deflate64
            path.write_bytes(packed)
        with pytest.raises(ScanError, match=r"compressed by method 9.*; unpack it and name the folder"):
            read_scan(path)
        with zipfile.ZipFile(path, "w"):
            pass
        with pytest.raises(ScanError, match="the zip holds no files"):
            read_scan(path)


def test_a_record_leads_to_its_series_where_another_differs_in_orientation_alone(tmp_path):
    write_series(tmp_path / "axial", HU, tags={"SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2"})
    write_series(tmp_path / "coronal", HU, CORONAL, tags={"SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2"})
    found = catalogue(tmp_path)
    assert [series.is_axial for series in found.series] == [True, False]
    for series in found.series:
        assert choose(found, series.digest)[0] is series
    of_0_2 = found.series[1].digest_of_0_2
    with pytest.raises(SeriesError, match=r"may mean any of 2 series; choose with --series N"):
        choose(found, of_0_2)
    alone = catalogue(tmp_path / "coronal")
    assert choose(alone, of_0_2)[0] is alone.series[0]


def test_a_deflate_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("abdoseg.io.dicom.headers.MAX_INFLATED", 2000)
    write_series(tmp_path, HU, transfer_syntax=pydicom.uid.DeflatedExplicitVRLittleEndian)
    with pytest.raises(SeriesError, match="series: deflated file beyond all bounds"):
        read_scan(tmp_path)


@pytest.mark.parametrize(
    ("size", "kind"), [(700, "CT header without pixel data"), (200, "damaged DICOM file"), (0, "empty file")]
)
def test_files_that_may_be_lost_slices_are_reported(tmp_path, size, kind):
    files = write_series(tmp_path / "ct", body(), AXIAL)
    for file in files[:2]:
        file.write_bytes(file.read_bytes()[:size])
    (tmp_path / "ct" / ".done").touch()  # an empty file that is no slice
    packed = tmp_path / "ct.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in (tmp_path / "ct").iterdir():
            archive.write(file, file.name)
    for path in (tmp_path / "ct", packed):
        (note,) = catalogue(path).notes
        assert note.startswith(f"{kind} (2): left out; if these are slices of it")
