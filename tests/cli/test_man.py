"""The manual pages in man/man1 say what the commands say."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from abdoseg.cli import COMMANDS
from abdoseg.cli.man import main, pages, write_pages

MAN = Path(__file__).parents[2] / "man" / "man1"


@pytest.mark.parametrize("name", ["abdoseg.1", *(f"abdoseg-{name}.1" for name in COMMANDS)])
def test_the_manual_page_is_in_step_with_its_command(name):
    assert (MAN / name).read_text(encoding="utf-8") == pages()[name], "run `python -m abdoseg.cli.man man/man1`"


def test_there_is_no_manual_page_without_a_command():
    assert {path.name for path in MAN.glob("*.1")} == set(pages())


def test_paragraphs_are_filled_and_examples_keep_their_lines():
    for name, text in pages().items():
        description = text.split(".SH DESCRIPTION\n")[1].split(".SH")[0]
        filled = [block.split(".fi")[-1] for block in description.split(".nf")]
        assert not any(line.startswith(" ") for block in filled for line in block.splitlines()), name
    assert ".nf\n    abdoseg segment scan.nii.gz -o out/\n" in pages()["abdoseg-segment.1"]


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), ([], 2), (["--man"], 2), (["a", "b"], 2)])
def test_what_is_no_folder_makes_none(tmp_path, monkeypatch, words, code):
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, words).exit_code == code
    assert not list(tmp_path.iterdir())


def test_pages_are_written_into_the_folder_that_is_named(tmp_path):
    assert CliRunner().invoke(main, [str(tmp_path / "man1")]).exit_code == 0
    assert {path.name for path in (tmp_path / "man1").iterdir()} == set(pages())


def test_pages_of_commands_that_are_gone_are_removed(tmp_path):
    (tmp_path / "abdoseg-gone.1").write_text("")
    write_pages(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(pages())
