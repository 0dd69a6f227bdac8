"""Which files tables may name: below the table, and below folders that WSRPN_SLIDES opens."""

import os

import pytest

from wsrpn.errors import InputError
from wsrpn.slides import roots, sheet


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A folder with a slide, apart from that of the table, and not yet open."""
    monkeypatch.delenv(roots.VARIABLE, raising=False)
    (tmp_path / "disk" / "site").mkdir(parents=True)
    (tmp_path / "disk" / "site" / "a.svs").write_text("far")
    (tmp_path / "study").mkdir()
    return tmp_path / "disk"


def table(disk, cell, column="file"):
    path = disk.parent / "study" / "slides.csv"
    path.write_text(f"slide,{column}\na,{cell}\n")
    return path


@pytest.mark.parametrize("column", ["file", "tissue", "thumbnail", "annotation"])
def test_an_absolute_path_is_refused_with_the_way_out_and_allowed_by_it(disk, monkeypatch, column):
    slide = disk / "site" / "a.svs"
    path = table(disk, slide, column)
    with pytest.raises(InputError, match=r"slides\.csv:2: .*leaves the folder.*WSRPN_SLIDES="):
        sheet.read(path)
    monkeypatch.setenv(roots.VARIABLE, str(disk))
    assert getattr(sheet.read(path)["a"], column) == slide


def test_a_link_is_refused_with_the_folder_to_open_and_allowed_by_it(disk, monkeypatch):
    (disk.parent / "study" / "a.svs").symlink_to(disk / "site" / "a.svs")
    path = table(disk, "a.svs")
    with pytest.raises(InputError, match=f"link out of .*WSRPN_SLIDES={disk / 'site'}"):
        sheet.read(path)
    monkeypatch.setenv(roots.VARIABLE, str(disk))
    assert sheet.read(path)["a"].file.read_text() == "far"


def test_a_relative_path_is_looked_for_below_the_table_first(disk, monkeypatch):
    monkeypatch.setenv(roots.VARIABLE, f"{disk.parent / 'study'}{os.pathsep}{disk}")
    path = table(disk, "site/a.svs")
    assert sheet.read(path)["a"].file == disk / "site" / "a.svs"
    (path.parent / "site").mkdir()
    (path.parent / "site" / "a.svs").write_text("near")
    assert sheet.read(path)["a"].file.read_text() == "near"


def test_a_file_that_is_nowhere_is_named_below_the_table(disk, monkeypatch):
    monkeypatch.setenv(roots.VARIABLE, str(disk))
    path = table(disk, "gone.svs")
    assert sheet.read(path)["a"].file == path.parent / "gone.svs"


def test_nothing_leads_out_of_the_folders_that_are_open(disk, monkeypatch):
    secret = disk.parent / "secret.svs"
    secret.write_text("x")
    (disk / "link.svs").symlink_to(secret)
    monkeypatch.setenv(roots.VARIABLE, str(disk))
    for cell in (secret, disk / "link.svs", f"{disk}/../secret.svs", "../secret.svs",
                 "site/../../secret.svs", "/etc/passwd", "C:\\a.svs"):  # fmt: skip
        with pytest.raises(InputError, match="leaves the folder"):
            sheet.read(table(disk, cell))
    with pytest.raises(InputError, match="link out of"):
        sheet.read(table(disk, "link.svs"))


def test_a_folder_whose_name_only_begins_like_an_open_one_is_not_open(disk, monkeypatch):
    other = disk.parent / "disk2"
    other.mkdir()
    monkeypatch.setenv(roots.VARIABLE, str(disk))
    with pytest.raises(InputError, match=f"opens {disk}"):
        sheet.read(table(disk, other / "a.svs"))


def test_an_open_folder_that_is_not_there_is_named(disk, monkeypatch):
    monkeypatch.setenv(roots.VARIABLE, str(disk / "gone"))
    with pytest.raises(InputError, match=r"WSRPN_SLIDES: .*gone is no folder"):
        sheet.read(table(disk, "gone.svs"))
