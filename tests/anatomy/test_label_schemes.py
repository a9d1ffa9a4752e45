"""Label schemes as datasets bring them along."""

import json

import pytest

from abdoseg.anatomy.label_schemes import find_scheme, is_scheme, organ_name, parse_scheme
from abdoseg.errors import DatasetError, UsageError


def test_msd_and_amos_names_become_ours():
    text = json.dumps({"name": "AMOS", "labels": {"0": "background", "2": "right kidney", "8": "arota", "1": "cancer"}})
    assert parse_scheme(text, "dataset.json") == {1: "liver_tumour", 2: "kidney_right", 8: "aorta"}


def test_names_may_come_before_numbers():
    assert parse_scheme('{"background": 0, "liver": 1, "Left Kidney": 13}', "x") == {1: "liver", 13: "kidney_left"}


def test_an_unknown_name_is_kept_as_it_is():
    assert organ_name("Portal vein") == "portal_vein"


def test_a_scheme_may_be_named_or_be_a_file(tmp_path):
    assert find_scheme("btcv")[6] == "liver"
    (tmp_path / "mine.json").write_text('{"1": "spleen"}')
    assert find_scheme(str(tmp_path / "mine.json")) == {1: "spleen"}
    with pytest.raises(UsageError, match=r"no label scheme 'flair22'; there are .*flare22.*JSON file"):
        find_scheme("flair22")


@pytest.mark.parametrize("text", ["[1, 2]", "{", '{"liver": "one"}', "{}", '{"liver": [1, 2]}'])
def test_json_that_is_no_scheme_is_refused_with_an_example(text):
    with pytest.raises(DatasetError, match='"liver": 1'):
        parse_scheme(text, "x.json")


def test_acquisition_parameters_are_no_scheme():
    assert is_scheme('{"liver": 1}') and not is_scheme('{"KVP": 120, "Manufacturer": "X"}') and not is_scheme("[]")
