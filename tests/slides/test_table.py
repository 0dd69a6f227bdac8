import dataclasses
import gzip
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wsrpn.errors import InputError
from wsrpn.slides import facts, table
from wsrpn.tiles import Slide, Tiles

HEADER = "slide,x,y,width,height,score"


def lines(*, slides=("a", "b"), columns=4, rows=3, size=100):
    """Rows of a CSV: scores count up."""
    places = [(s, c, r) for s in slides for r in range(rows) for c in range(columns)]
    return [
        f"{s},{c * size},{r * size},{size},{size},{i / 10}" for i, (s, c, r) in enumerate(places)
    ]


def csv(path, *, header=HEADER, rows=None):
    path.write_text("\n".join([header, *(lines() if rows is None else rows)]) + "\n", "utf-8")
    return path


def wider(column, values, *, path):
    """The usual table with one more column."""
    cells = [f"{row},{value}" for row, value in zip(lines(), values, strict=True)]
    return csv(path, header=f"{HEADER},{column}", rows=cells)


def parquet(path, *, metadata=None, **columns):
    row, column = np.divmod(np.arange(12), 4)
    found = {"slide": ["a"] * 12, "x": column * 100, "y": row * 100, "width": [100] * 12}
    found |= {"height": [100] * 12, "score": np.arange(12) / 10, **columns}
    pq.write_table(pa.table(found).replace_schema_metadata(metadata), path)
    return path


def equal(one, other):
    """Whether two slides hold the same."""
    for field in dataclasses.fields(Tiles):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "lattice":
            same = all(
                np.array_equal(getattr(a, n.name), getattr(b, n.name))
                for n in dataclasses.fields(a)
            )
        elif isinstance(a, np.ndarray):
            same = a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        else:
            same = a == b
        if not same:
            return False
    return True


def cohort(tmp_path):
    """Two slides with everything a table can say, one with a fractional pitch."""
    rng = np.random.default_rng(0)
    column, row = (cells.ravel() for cells in np.meshgrid(np.arange(9), np.arange(7)))
    rows = []
    for slide, pitch in (("a", 374.68), ("b", 256)):
        for i, (c, r) in enumerate(zip(column, row, strict=True)):
            label = ["0", "1", ""][i % 3]
            rows.append(
                f"{slide},{round(c * pitch)},{round(r * pitch)},{pitch},{pitch},{rng.normal()!r},"
                f"{label},{rng.random()!r},{rng.random()!r},{i % 2 if slide == 'a' else ''},"
                f"{0.25 if slide == 'a' else ''},p{slide},val,5000,4000"
            )
    more = "label,truth,tissue,reference,mpp,patient,split,slide_width,slide_height"
    return table.read(csv(tmp_path / "made.csv", header=f"{HEADER},{more}", rows=rows))


def test_slides_come_in_the_order_of_their_first_rows(tmp_path):
    rows = lines()
    rows[0], rows[12] = rows[12], rows[0]
    found = table.read(csv(tmp_path / "t.csv", rows=rows))
    assert [one.slide for one in found.slides] == ["b", "a"]
    assert [len(one) for one in found.slides] == [12, 12]


def test_scores_stand_where_the_table_has_them(tmp_path):
    found = table.read(csv(tmp_path / "t.csv")).slides[1]
    expected = np.arange(12, 24).reshape(3, 4) / 10
    assert np.array_equal(found.lattice.spread(found.score), expected)
    assert found.size_px0 == (100, 100)
    assert np.isnan(found.label).all()
    assert np.all(found.tissue == 1)
    assert found.reference is None


@pytest.mark.parametrize("name", ["wsi_id", "slide_id"])
def test_other_names_of_the_slide_column(tmp_path, name):
    found = table.read(csv(tmp_path / "t.csv", header=HEADER.replace("slide", name)))
    assert [one.slide for one in found.slides] == ["a", "b"]


def test_names_of_slides_that_are_numbers_stay_as_written(tmp_path):
    rows = [row.replace("a,", "007,", 1) for row in lines(slides=("a",))]
    assert table.read(csv(tmp_path / "t.csv", rows=rows)).slides[0].slide == "007"


def test_another_score_column(tmp_path):
    path = wider("score_two", range(24), path=tmp_path / "t.csv")
    found = table.read(path, score="score_two")
    assert found.score == "score_two"
    assert found.slides[0].score[5] == 5


def test_labels_shares_and_blanks(tmp_path):
    label = ["0", "1", "", "nan", "False", "1.0"] * 4
    found = table.read(wider("label", label, path=tmp_path / "t.csv")).slides[0].label
    assert np.array_equal(found[:6], [0, 1, np.nan, np.nan, 0, 1], equal_nan=True)
    tissue = table.read(wider("tissue", ["", "0.5"] * 12, path=tmp_path / "t.csv"))
    assert np.array_equal(tissue.slides[0].tissue[:2], [1, 0.5])
    reference = table.read(wider("reference", ["1", ""] * 12, path=tmp_path / "t.csv"))
    assert np.array_equal(reference.slides[0].reference[:2], [True, False])


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_metadata_say_mpp_size_and_rule(tmp_path, kind):
    said = {"mpp": 0.243, "slide_width": 900, "slide_height": {"a": 800}, "label_rule": "any"}
    if kind == "parquet":
        texts = {name: json.dumps(value) for name, value in said.items()}
        path = parquet(tmp_path / "t.parquet", metadata=texts)
    else:
        path = csv(tmp_path / "t.csv", rows=lines(slides=("a",)))
        (tmp_path / "t.json").write_text(json.dumps(said))
    found = table.read(path)
    assert found.rule == "any"
    assert (found.slides[0].mpp, found.slides[0].extent_px0) == (0.243, (900, 800))


def test_a_column_holds_before_metadata(tmp_path):
    path = wider("mpp", [0.5] * 12 + [""] * 12, path=tmp_path / "t.csv")
    (tmp_path / "t.json").write_text('{"mpp": 0.25}')
    assert [one.mpp for one in table.read(path).slides] == [0.5, 0.25]


def test_json_beside_a_table_that_is_no_metadata_is_told(tmp_path):
    path = csv(tmp_path / "t.csv")
    (tmp_path / "t.json").write_text("[1, 2]")
    assert "t.json beside t.csv holds none of mpp" in table.read(path).notes[0]


def test_the_table_of_slides_holds_and_differences_are_told(tmp_path):
    path = wider("mpp", [0.5] * 24, path=tmp_path / "t.csv")
    slides = {
        "a": Slide("a", "p1", split="test", mpp=0.25, extent_px0=(800, 900), exhaustive=False),
        "b": Slide("b", "b", mpp=0.5001),
    }
    found = table.read(path, slides=slides)
    first = found.slides[0]
    assert (first.mpp, first.extent_px0, first.patient) == (0.25, (800, 900), "p1")
    assert (first.split, first.exhaustive) == ("test", False)
    assert found.slides[1].mpp == 0.5001
    assert len(found.notes) == 1
    assert "mpp of 1 slide differs" in found.notes[0]
    assert "a: 0.5 against 0.25" in found.notes[0]


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.csv.gz"])
def test_what_is_written_reads_back_equal(tmp_path, name):
    made = cohort(tmp_path)
    digest = table.write(made, tmp_path / "out" / name)
    found = table.read(tmp_path / "out" / name)
    assert all(equal(a, b) for a, b in zip(made.slides, found.slides, strict=True))
    assert (found.rule, found.score) == (made.rule, made.score)
    assert found.provenance["digest"] == digest
    assert found.provenance["tiles"] == 126
    assert (found.notes, found.failed) == ((), {})


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.csv.gz"])
def test_writing_twice_gives_the_same_bytes(tmp_path, name):
    made = cohort(tmp_path)
    assert table.write(made, tmp_path / name) == table.write(made, tmp_path / f"2{name}")


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_further_scores_stand_beside_the_one_and_are_read_by_name(tmp_path, name):
    made = cohort(tmp_path)
    first, second = made.slides
    further = np.linspace(-1, 1, len(first))
    first = dataclasses.replace(first, others={"score_kl": further})
    table.write(dataclasses.replace(made, slides=(first, second)), tmp_path / name)
    with pytest.raises(InputError, match="score_kl"):  # blank in the slide that has none
        table.read(tmp_path / name, score="score_kl")
    table.write(dataclasses.replace(made, slides=(first,)), tmp_path / name)
    found = table.read(tmp_path / name, score="score_kl").slides[0]
    assert found.score.tolist() == further.tolist()
    assert table.read(tmp_path / name).slides[0].score.tolist() == first.score.tolist()


def test_metadata_of_slides_apart_join_to_those_of_the_cohort(tmp_path):
    made = cohort(tmp_path)
    apart = [dataclasses.replace(made, slides=(one,)) for one in made.slides]
    assert facts.joined(map(facts.packed, apart)) == facts.packed(made)


def test_what_is_unknown_is_left_out_of_the_table(tmp_path):
    made = dataclasses.replace(table.read(csv(tmp_path / "t.csv")), score="score_new", rule="any")
    table.write(made, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[0].replace('"', "") == (
        "slide,x,y,width,height,score_new,tissue"
    )
    assert table.read(tmp_path / "out.csv", score="score_new").rule == "any"


def test_a_name_without_a_known_suffix_is_refused(tmp_path):
    made = table.read(csv(tmp_path / "t.csv"))
    with pytest.raises(InputError, match=r"is .parquet, .csv or .csv.gz"):
        table.write(made, tmp_path / "t.xlsx")
    with pytest.raises(InputError, match=r"is .parquet, .csv, .csv.gz"):
        table.read(csv(tmp_path / "t.txt"))


def test_a_slide_off_the_lattice_fails_and_the_rest_goes_on(tmp_path):
    rows = lines()
    rows[17] = "b,130,100,100,100,1"
    path = csv(tmp_path / "t.csv", rows=rows)
    found = table.read(path)
    assert [one.slide for one in found.slides] == ["a"]
    assert list(found.failed) == ["b"]
    assert found.failed["b"].startswith(f"{path}:19: the tile at x 130, y 100 is 30 px off")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("b,0,0,100,100,1", "has the place of the one"),
        ("b,300,200,40,100,1", "a tile of width 40 px among tiles of 100 px"),
        ("b,300,200,100,-1,1", "a tile of height -1 px"),
    ],
)
def test_faults_of_one_slide_name_the_line(tmp_path, row, said):
    rows = lines()
    rows[23] = row
    found = table.read(csv(tmp_path / "t.csv", rows=rows))
    assert said in found.failed["b"]
    assert "t.csv:25: " in found.failed["b"]


def test_tiles_outside_the_slide_are_a_fault_of_it(tmp_path):
    slides = {"a": Slide("a", "a", extent_px0=(250, 300))}
    found = table.read(csv(tmp_path / "t.csv"), slides=slides)
    assert "lies outside the slide of 250 × 300 px (3 of 12" in found.failed["a"]


def test_a_table_whose_slides_all_fail_is_refused(tmp_path):
    rows = [re.sub(r",100,200,", ",131,200,", row) for row in lines()]
    with pytest.raises(InputError, match=r"t.csv:11: .*off in x.* All 2 slides failed"):
        table.read(csv(tmp_path / "t.csv", rows=rows))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"t.csv: the table is empty"),
        ("\n\n", r"t.csv: the table is empty"),
        (HEADER, r"t.csv: the table has a header and no row"),
        (f"{HEADER}\n", r"t.csv: the table has a header and no row"),
        (HEADER.replace(",", ";") + "\na;0;0;1;1;1", r"t.csv:1: separated by semicolons"),
        (HEADER.replace(",", "\t") + "\n", r"t.csv:1: separated by tabs"),
        (HEADER.replace("width", "wdth") + "\n", r"no column 'width'. Did you mean 'wdth'"),
        (HEADER.replace("score", "score_a") + "\n", r"no column 'score' with scores. Did you mean"),
        (f"{HEADER},x\n", r"column 'x' stands twice"),
        (f"{HEADER}\na,0,0,1,1\n", r"t.csv:2: 5 cells, but the header has 6"),
        (f"{HEADER}\na,0,0,1,1,1\n\na,0,0,1,1,1,9\n", r"t.csv:4: 7 cells, but the header has 6"),
        (f"{HEADER}\na,0,0,1,1,1\n\na,1,o,1,1,1\n", r"t.csv:4: y 'o' is no number"),
        (
            f'{HEADER}\na,"0,5",0,1,1,1\n',
            r"t.csv:2: x '0,5' is no number; write numbers with a point",
        ),
        (f"{HEADER}\na,0,0,1,1,\n", r"t.csv:2: score is blank or not finite"),
        (f"{HEADER}\na,0,0,1,1,NaN\n", r"t.csv:2: score is blank or not finite"),
        (f"{HEADER}\na,0,0,1,1,1\na,1,0,1,1,-inf\n", r"t.csv:3: score is infinite"),
        (f"{HEADER}\na,0,0,1,1,1\n,1,0,1,1,1\n", r"t.csv:3: no name of a slide"),
        (f"{HEADER},label\na,0,0,1,1,1,2\n", r"t.csv:2: label 2 is unknown; write 0, 1 or nothing"),
        (f"{HEADER},label\na,0,0,1,1,1,tumor\n", r"t.csv:2: label 'tumor' is no number"),
        (f"{HEADER},truth\na,0,0,1,1,1,1.5\n", r"t.csv:2: truth 1.5 is unknown"),
        (f"{HEADER},tissue\na,0,0,1,1,1,-0.1\n", r"t.csv:2: tissue -0.1 is unknown"),
        (f"{HEADER},reference\na,0,0,1,1,1,0.5\n", r"t.csv:2: reference 0.5 is unknown"),
        (f"{HEADER},split\na,0,0,1,1,1,dev\n", r"split 'dev' of slide 'a' is unknown"),
        (f"{HEADER},mpp\na,0,0,1,1,1,0\n", r"mpp 0 of slide 'a' is not above 0"),
        (
            f"{HEADER},mpp\na,0,0,1,1,1,1\na,1,0,1,1,1,2\n",
            r"t.csv:3: mpp differs from other rows of slide 'a'",
        ),
        (
            f"{HEADER},patient\na,0,0,1,1,1,\na,1,0,1,1,1,p\na,2,0,1,1,1,q\n",
            r"t.csv:4: patient differs from other rows of slide 'a'",
        ),
        (f'{HEADER}\n"a,0,0,1,1,1\n', r"t.csv"),
    ],
)
def test_faults_of_a_csv_are_named(tmp_path, text, said):
    path = tmp_path / "t.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=said):
        table.read(path)


def test_a_byte_order_mark_is_no_fault_and_other_encodings_are_named(tmp_path):
    path = tmp_path / "t.csv"
    text = "\r\n".join([HEADER, *lines()])
    path.write_bytes(text.encode("utf-8-sig"))
    assert len(table.read(path)) == 2
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(InputError, match="UTF-16; save the table as UTF-8"):
        table.read(path)
    path.write_bytes(text.replace("b,", "\xe4,").encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8 text"):
        table.read(path)


def test_spaces_around_names_and_numbers_are_no_fault(tmp_path):
    rows = [row.replace(",", " , ") for row in lines()]
    found = table.read(csv(tmp_path / "t.csv", header=HEADER.replace(",", ", "), rows=rows))
    assert [one.slide for one in found.slides] == ["a", "b"]


def test_damaged_files_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        table.read(tmp_path / "none.csv")
    with pytest.raises(InputError, match="no such file"):
        table.read(tmp_path / "none.parquet")
    packed = gzip.compress("\n".join([HEADER, *lines()]).encode())
    (tmp_path / "t.csv.gz").write_bytes(packed[:-20])
    with pytest.raises(InputError, match=r"t\.csv\.gz"):
        table.read(tmp_path / "t.csv.gz")
    whole = parquet(tmp_path / "t.parquet").read_bytes()
    for data in (whole[:-30], b"", b"PAR1"):
        (tmp_path / "t.parquet").write_bytes(data)
        with pytest.raises(InputError, match="not readable as Parquet"):
            table.read(tmp_path / "t.parquet")


def test_no_flipped_bit_changes_a_score_unnoticed(tmp_path):
    made, path, noticed = cohort(tmp_path), tmp_path / "t.parquet", 0
    table.write(made, path)
    whole = path.read_bytes()
    for place in range(60, len(whole) // 2, 41):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            found = table.read(path)
        except InputError:
            noticed += 1
        else:  # a bit of the statistics, which nobody reads
            assert all(equal(a, b) for a, b in zip(made.slides, found.slides, strict=True))
    assert noticed > 20


def test_parquet_with_other_types(tmp_path):
    found = table.read(
        parquet(
            tmp_path / "t.parquet",
            slide=pa.array(["a"] * 12).dictionary_encode(),
            score=pa.array(np.arange(12), pa.float32()),
            label=[True, False, None] * 4,
            truth=pa.nulls(12),
            split=pa.array(["val"] * 12, pa.large_string()),
        )
    ).slides[0]
    assert np.array_equal(found.label[:3], [1, 0, np.nan], equal_nan=True)
    assert np.isnan(found.truth).all()
    assert found.split == "val"
    assert found.score.dtype == np.float64


def test_faults_of_parquet_name_the_row(tmp_path):
    scores = np.arange(12) / 10
    scores[7] = np.nan
    with pytest.raises(InputError, match=r"t.parquet: row 8: score is blank or not finite"):
        table.read(parquet(tmp_path / "t.parquet", score=scores))
    with pytest.raises(InputError, match=r"column 'score' holds list"):
        table.read(parquet(tmp_path / "t.parquet", score=[[1.0]] * 12))
    with pytest.raises(InputError, match=r"metadata 'mpp' is 'fine'; give a number"):
        table.read(parquet(tmp_path / "t.parquet", metadata={"mpp": "fine"}))
    with pytest.raises(InputError, match=r"metadata 'wsrpn' is damaged"):
        table.read(parquet(tmp_path / "t.parquet", metadata={"wsrpn": '{"slides": [1]}'}))


def test_a_lattice_in_the_metadata_that_the_tiles_do_not_have(tmp_path):
    own = {"slides": {"a": {"origin_px0": [0, 0], "pitch_px0": [90, 90]}}}
    with pytest.raises(InputError, match="not on the lattice that the table names"):
        table.read(parquet(tmp_path / "t.parquet", metadata={"wsrpn": json.dumps(own)}))
    own["slides"]["a"]["pitch_px0"] = [0, "x"]
    with pytest.raises(InputError, match="metadata name no lattice for slide 'a'"):
        table.read(parquet(tmp_path / "t.parquet", metadata={"wsrpn": json.dumps(own)}))


def test_what_a_score_table_is(tmp_path):
    assert table.is_table(csv(tmp_path / "t.csv"))
    assert table.is_table(parquet(tmp_path / "t.parquet"))
    assert table.is_table(tmp_path)
    assert table.is_table(csv(tmp_path / "u.csv", header=HEADER.replace(",", ";")))
    assert not table.is_table(csv(tmp_path / "tiles.csv", header="slide,x,y,label,sheet"))
    boxes = csv(tmp_path / "d.csv", header="image,label,x,y,width,height,score")
    assert not table.is_table(boxes)
    assert not table.is_table(csv(tmp_path / "s.csv", header="slide,patient"))
    assert not table.is_table(tmp_path / "none.csv")
    (tmp_path / "p.json").write_text("{}")
    assert not table.is_table(tmp_path / "p.json")
    (tmp_path / "empty").mkdir()
    assert not table.is_table(tmp_path / "empty")


def test_a_folder_of_tables_is_one_cohort(tmp_path):
    csv(tmp_path / "one.csv", rows=lines(slides=("a",)))
    csv(tmp_path / "two.csv", rows=lines(slides=("b", "c")))
    csv(tmp_path / "slides.csv", header="slide,split", rows=["a,val"])
    csv(tmp_path / "bad.csv", rows=["d,0,0,1,1,x"])
    found = table.read(tmp_path)
    assert [one.slide for one in found.slides] == ["a", "b", "c"]
    assert found.failed["bad"].endswith("write numbers with a point and without units.")
    assert found.notes == ("1 file without scores not read: slides.csv.",)
    assert found.provenance["tiles"] == 36
    before = found.provenance["digest"]
    (tmp_path / "bad.csv").unlink()
    assert table.read(tmp_path).provenance["digest"] == before
    csv(tmp_path / "two.csv", rows=lines(slides=("b",)))
    assert table.read(tmp_path).provenance["digest"] != before


def test_slides_of_a_table_that_is_being_made_are_no_tables_of_their_own(tmp_path):
    made = cohort(tmp_path)
    parts = tmp_path / "all" / f"s.parquet{table.PARTS}"
    table.write(made, tmp_path / "all" / "s.parquet")
    table.write(dataclasses.replace(made, slides=made.slides[:1]), parts / "a.parquet")
    assert [one.slide for one in table.read(tmp_path / "all").slides] == ["a", "b"]
    assert [one.slide for one in table.read(parts).slides] == ["a"]  # but they can be looked at


def test_a_slide_in_two_files_fails(tmp_path):
    csv(tmp_path / "one.csv", rows=lines(slides=("a",)))
    csv(tmp_path / "two.csv", rows=lines(slides=("a", "b")))
    found = table.read(tmp_path)
    assert [one.slide for one in found.slides] == ["b"]
    assert found.failed["a"] == "slide 'a' stands in one.csv, two.csv; keep one of them."


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="no scores in it"):
        table.read(tmp_path)


def test_a_killed_writer_leaves_the_old_table(tmp_path, monkeypatch):
    made = table.read(csv(tmp_path / "t.csv"))
    path = tmp_path / "out.parquet"
    table.write(made, path)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        table.write(dataclasses.replace(made, rule="any"), path)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*.tmp.*"))


def test_what_a_killed_process_left_half_written_is_not_read(tmp_path):
    folder = tmp_path / "all"
    table.write(cohort(tmp_path), folder / "s.parquet")
    half = (folder / "s.parquet").read_bytes()[:500]
    (folder / ".t.tmp.123.parquet").write_bytes(half)
    read = table.read(folder)
    assert [one.slide for one in read.slides] == ["a", "b"]
    assert not read.failed
