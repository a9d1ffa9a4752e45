"""Changes between two time points: the sum of diameters, and JSON."""

import json

import pytest
from phantom_livers import MOVED, A, B, C, time_point

from abdoseg.evaluation.changes import as_json
from abdoseg.evaluation.follow import follow


def test_the_sum_of_diameters_is_of_what_was_measurable_before():
    small = ((0, 30, 0), 3)
    found = follow("x", time_point([A, B, small]), time_point([(A[0], 16), small, C], MOVED))
    assert found.diameters_mm.before == pytest.approx(24 + 18, abs=5)
    assert found.diameters_mm.after == pytest.approx(32, abs=5)


def test_the_json_is_strict():
    found = follow("x", time_point([A, B]), time_point([A, C], MOVED))
    whole = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert [row["status"] for row in whole["lesions"]] == ["matched", "vanished", "new"]
    assert whole["lesions"][2]["difference_ml_percent"] is None
    assert whole["registration"]["dice"] == pytest.approx(found.registration.dice)
