"""Bad input: each kind gives exit code 2 and one sentence with what is wrong and the way out."""

import csv
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import cli, make

CASES = {}


def case(says):
    """Enter a function that spoils something and gives a command line; the sentence `says` …"""

    def enter(function):
        CASES[function.__name__.replace("_", " ")] = (function, says)
        return function

    return enter


@dataclass(frozen=True)
class Place:
    """Where a case may write, and what it may copy or name."""

    tmp: Path
    good: Path
    run: Path

    def train(self, data, *more):
        return (
            "train",
            "wsrpn-demo",
            "--data",
            data,
            "--out",
            self.tmp / "out",
            *cli.sets(),
            *more,
        )

    def rows(self, *rows, **more):
        """Training on a manifest of these rows, without files."""
        given = [dict(row) for row in rows]
        return self.train(make.manifest(self.tmp / "d", given, pictures=False, **more))

    def text(self, text, name="images.csv"):
        """Training on a folder with this text as its manifest."""
        path = self.tmp / "d" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return self.train(path.parent)

    def boxes(self, *lines):
        """Training on the good data with other boxes."""
        folder = self.copy(self.good)
        (folder / "boxes.csv").write_text(
            "\n".join(["image,label,x,y,width,height", *lines]) + "\n", "utf-8"
        )
        return self.train(folder)

    def copy(self, folder):
        return Path(shutil.copytree(folder, self.tmp / "copy"))

    def spoilt(self, spoil, name="images/000.png"):
        """Training on the good data with one image file spoilt."""
        folder = self.copy(self.good)
        spoil(folder / name)
        return self.train(folder)


# --- the config


@case("Did you mean 'wsrpn-demo'")
def unknown_preset(p):
    return ("train", "wsrpn-dmo", "--data", p.good)


@case(r"unknown key 'train.epoch'. Did you mean 'epochs'")
def unknown_key(p):
    return p.train(p.good, "--set", "train.epoch=3")


@case(r"train.epochs: .*integer.*\(got 'many'\)")
def value_of_the_wrong_type(p):
    return p.train(p.good, "--set", "train.epochs=many")


@case(r"my.yaml: line 2: not YAML")
def config_file_that_is_not_YAML(p):
    (p.tmp / "my.yaml").write_text("model: {name: cam}\n  train: [}\n")
    return ("train", p.tmp / "my.yaml", "--data", p.good)


@case(r"nowhere.yaml: no such config file; a preset is named without .yaml: ")
def config_file_that_is_missing(p):
    return ("train", "nowhere.yaml", "--data", p.good)


@case(r"list.yaml: a config is a mapping")
def config_file_that_is_a_list(p):
    (p.tmp / "list.yaml").write_text("- train\n")
    return ("train", p.tmp / "list.yaml", "--data", p.good)


@case(r"none.yaml: the config is empty; .*base: wsrpn-demo")
def config_file_that_is_empty(p):
    (p.tmp / "none.yaml").write_text("# later\n")
    return ("train", p.tmp / "none.yaml", "--data", p.good)


@case(r"my.yaml: base: .*other.yaml', and a file cannot be a base. Known: ")
def base_that_is_a_file(p):
    (p.tmp / "other.yaml").write_text("base: cam\n")
    (p.tmp / "my.yaml").write_text(f"base: {p.tmp / 'other.yaml'}\n")
    return ("train", p.tmp / "my.yaml", "--data", p.good)


@case(r"my.yaml: model wsrpn: unknown key 'region'. Did you mean 'regions'")
def config_file_with_an_unknown_option_of_a_model(p):
    (p.tmp / "my.yaml").write_text("base: wsrpn-demo\nmodel: {region: 3}\n")
    return ("train", p.tmp / "my.yaml", "--data", p.good)


@case(r"latin.yaml: .*UTF-8")
def config_file_in_latin_1(p):
    (p.tmp / "latin.yaml").write_bytes("# für\n".encode("latin-1"))
    return ("train", p.tmp / "latin.yaml", "--data", p.good)


@case(r"--set train.epochs: write it as a.b=value")
def set_without_a_value(p):
    return p.train(p.good, "--set", "train.epochs")


@case(r"phases.1.until must be above 2, the end before it")
def phase_that_ends_before_it_begins(p):
    one = "{until: 2, weights: {detection: 1}}"
    return p.train(p.good, "--set", f"phases=[{one}, {one}]")


@case(r"No model is called 'wsrpm'. Did you mean 'wsrpn'")
def unknown_model(p):
    return p.train(p.good, "--set", "model.name=wsrpm")


@case(r"No backbone is called 'resnet19'. Did you mean 'resnet18'")
def unknown_backbone(p):
    return p.train(p.good, "--set", "model.backbone=resnet19")


@case(r"model wsrpn: unknown key 'region'. Did you mean 'regions'")
def unknown_option_of_a_model(p):
    return p.train(p.good, "--set", "model.region=3")


@case(r"model wsrpn cannot be built with .*heads=3")
def options_of_a_model_that_do_not_go_together(p):
    return p.train(p.good, "--set", "model.heads=3")


@case(r"model.name is missing")
def model_without_a_name(p):
    (p.tmp / "nameless.yaml").write_text("model: {backbone: tiny}\n")
    return ("train", p.tmp / "nameless.yaml", "--data", p.good)


@case(r"No loss is called 'image_bec'. Did you mean 'image_bce'")
def unknown_loss(p):
    return p.train(p.good, "--set", "phases=[{weights: {image_bec: 1}}]")


@case(r"Loss 'detection' reads output.patch_logits, which model 'cam' does not give. .*wsrpn")
def loss_that_reads_what_the_model_lacks(p):
    return ("train", "cam", "--data", p.good, *cli.sets("phases=[{weights: {detection: 1}}]"))


@case(r"losses.image_bce: has options, but no phase")
def options_of_a_loss_without_weight(p):
    return p.train(p.good, "--set", "losses.image_bce.pos_weight=2")


@case(r"no such file: .*none.pth")
def weights_that_are_missing(p):
    return p.train(p.good, "--set", f"model.weights={p.tmp / 'none.pth'}")


@case(r"w.safetensors: .* of the backbone are missing, .* another architecture")
def weights_of_another_architecture(p):
    import safetensors.torch
    import torch

    safetensors.torch.save_file({"conv1.weight": torch.zeros(2)}, p.tmp / "w.safetensors")
    return p.train(p.good, "--set", f"model.weights={p.tmp / 'w.safetensors'}")


@case(r"w.pth: not a plain weights file; it is damaged, or holds Python objects")
def weights_that_are_a_pickle_of_objects(p):
    import torch

    torch.save({"a": Place}, p.tmp / "w.pth")
    return p.train(p.good, "--set", f"model.weights={p.tmp / 'w.pth'}")


@case(r"--code .*mine.py:2: NameError: name 'losse' is not defined")
def code_that_fails(p):
    (p.tmp / "mine.py").write_text("import math\nlosse.register\n")
    return p.train(p.good, "--code", p.tmp / "mine.py")


# --- which data


@case(r"no data set is called 'nhi'. Did you mean 'nih'")
def unknown_data_set(p):
    return p.train("nhi:somewhere")


@case(r"nowhere: no such file or folder")
def data_that_are_missing(p):
    return p.train(p.tmp / "nowhere")


@case(r"No data given. Pass --data")
def no_data_at_all(p):
    return ("train", "wsrpn-demo", "--out", p.tmp / "out")


@case(r"empty: neither images.csv .* nor any image")
def folder_with_nothing_in_it(p):
    (p.tmp / "empty").mkdir()
    return p.train(p.tmp / "empty")


@case(r"phantom:crx: no such phantom. Did you mean 'cxr'")
def unknown_phantom(p):
    return p.train("phantom:crx")


@case(r"phantom:cxr: unknown key 'image'. Did you mean 'images'")
def unknown_option_of_a_phantom(p):
    return p.train("phantom:cxr?image=5")


@case(r"Data_Entry_2017.csv is in this folder")
def NIH_folder_without_its_table(p):
    (make.nih(p.tmp / "nih") / "Data_Entry_2017.csv").unlink()
    return p.train(f"nih:{p.tmp / 'nih'}")


@case(r"Data_Entry_2017.csv:2: finding 'Cardiomegalie' is unknown. Did you mean 'Cardiomegaly'")
def NIH_table_with_an_unknown_finding(p):
    table = make.nih(p.tmp / "nih") / "Data_Entry_2017.csv"
    table.write_text(table.read_text().replace("Cardiomegaly", "Cardiomegalie", 1))
    return p.train(f"nih:{p.tmp / 'nih'}")


@case(r"broken.json: not readable as COCO annotations")
def COCO_file_that_is_not_JSON(p):
    (p.tmp / "broken.json").write_text('{"images": [')
    return p.train(f"coco:{p.tmp / 'broken.json'}")


@case(r"c.json: annotations\[0\]: image_id 7 is not among the ids")
def COCO_box_of_an_unknown_image(p):
    tree = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "Mass"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1]}],
    }
    (p.tmp / "c.json").write_text(json.dumps(tree))
    return p.train(f"coco:{p.tmp / 'c.json'}")


@case(r"data.classes: no class 'lefty'. Did you mean 'left'")
def class_that_the_data_lack(p):
    return p.train(p.good, "--set", "data.classes=[lefty]")


@case(r"val_share 0.6 and data.test_share 0.6 leave no training")
def shares_that_leave_nothing_to_train_on(p):
    return p.train(p.good, "--set", "data.val_share=0.6", "--set", "data.test_share=0.6")


# --- the manifest


@case(r"images.csv:1: no column 'image'. Did you mean 'images'")
def manifest_without_the_column_image(p):
    return p.text("images,labels\na.png,x\n")


@case(r"images.csv:3: 3 cells, but the header has 2")
def ragged_row(p):
    return p.text("image,labels\na.png,x\nb.png,x,y\n")


@case(r"images.csv:3: image 'a.png' stands already in line 2")
def image_in_two_rows(p):
    return p.text("image,labels\na.png,x\na.png,\n")


@case(r"images.csv:1: separated by semicolons; save the table with commas")
def wrong_delimiter(p):
    return p.text("image;labels\na.png;x\n")


@case(r"images.csv:3: not UTF-8 text; save the table as UTF-8")
def manifest_in_latin_1(p):
    return p.text("image,labels\na.png,x\nb.png,Ergüsse\n".encode("latin-1"))


@case(r"images.csv: the file is empty")
def manifest_of_zero_bytes(p):
    return p.text("")


@case(r"images.csv:2: not a CSV row")
def quote_that_is_never_closed(p):
    return p.text('image,text\na.png,"once upon\n')


@case(r"images.csv:2: split 'training' is unknown; use train, val or test")
def unknown_split_in_a_row(p):
    return p.text("image,split,labels\na.png,training,x\n")


@case(r"images.csv:2: 'x' stands in labels and in unknown")
def label_that_is_present_and_unknown(p):
    return p.text("image,labels,unknown\na.png,x,x\n")


@case(r"images.csv:2: '../../a.png' leaves the folder")
def path_that_leaves_the_folder(p):
    return p.text("image,labels\n../../a.png,x\n")


@case(r"images.csv:2: '/etc/passwd' leaves the folder")
def absolute_path(p):
    return p.text("image,labels\n/etc/passwd,x\n")


@case(r"boxes.csv:2: no row of images.csv has the label 'lefft'. Did you mean 'left'")
def box_with_a_misspelt_label(p):
    return p.boxes("images/000.png,lefft,1,1,5,5")


@case(r"boxes.csv:2: no image 'images/999.png' in images.csv")
def box_of_an_unknown_image(p):
    return p.boxes("images/999.png,left,1,1,5,5")


@case(r"boxes.csv:3: .*'wide'")
def box_that_is_not_a_number(p):
    return p.boxes("images/000.png,left,1,1,5,5", "images/000.png,left,1,1,wide,5")


@case(r"boxes.csv:2: .*-5.*positive")
def box_of_negative_size(p):
    return p.boxes("images/000.png,left,1,1,-5,5")


@case(r"boxes.csv:1: no column 'width'")
def boxes_with_a_missing_column(p):
    folder = p.copy(p.good)
    (folder / "boxes.csv").write_text("image,label,x,y,w,h\n")
    return p.train(folder)


@case(r"patients in more than one split: p0 \(train, val\).* Put all images of a patient")
def patient_in_two_splits(p):
    folder = p.copy(p.good)
    table = list(csv.DictReader((folder / "images.csv").read_text().splitlines()))
    splits = ["train", "val", *["train"] * 30, *["val"] * 8, *["test"] * 8]
    lines = [
        f"{r['image']},{r['patient']},{s},{r['labels']}" for r, s in zip(table, splits, strict=True)
    ]
    (folder / "images.csv").write_text("\n".join(["image,patient,split,labels", *lines]) + "\n")
    return p.train(folder)


@case(r"train.monitor=auroc needs a class with positive and negative images in split val")
def validation_labels_that_are_all_alike(p):
    folder = p.copy(p.good)
    rows = list(csv.DictReader((folder / "images.csv").read_text().splitlines()))
    chosen = [r for r in rows if r["labels"]][:24]
    lines = [
        f"{r['image']},{'train' if n < 12 else 'val'},{r['labels'] if n < 12 else ''}"
        for n, r in enumerate(chosen)
    ]
    (folder / "images.csv").write_text("\n".join(["image,split,labels", *lines]) + "\n")
    (folder / "boxes.csv").unlink()
    return p.train(folder)


@case(r"no image of split train has a known label")
def data_without_any_label(p):
    folder = p.copy(p.good)
    (folder / "images.csv").unlink()
    (folder / "boxes.csv").unlink()
    return p.train(folder, "--set", "train.monitor=loss")


# --- image files


@case(r"000.png: no such file. .*data.on_error=skip")
def image_that_is_missing(p):
    return p.spoilt(Path.unlink)


@case(r"000.png: the file is empty \(0 bytes\)")
def image_of_zero_bytes(p):
    return p.spoilt(lambda path: path.write_bytes(b""))


@case(r"000.png: .*(truncated|decoded)")
def image_that_is_cut_off(p):
    return p.spoilt(lambda path: path.write_bytes(path.read_bytes()[:-60]))


@case(r"000.png: not an image, or damaged")
def image_that_is_text(p):
    return p.spoilt(lambda path: path.write_text("no image"))


@case(r"000.png: 12000 × 12000 pixels are more than the 64 million allowed")
def decompression_bomb(p):
    def bomb(path):
        Image.new("1", (12000, 12000)).save(path)

    return p.spoilt(bomb)


@case(r"m.dcm: 3 frames, one expected")
def DICOM_of_several_frames(p):
    path = make.dicom(p.tmp / "m.dcm", np.zeros((3, 8, 8), np.uint16), frames=3)
    return ("predict", p.run, path, "--out", p.tmp / "p.json")


@case(r"x.dcm: not a DICOM image, or damaged .*--on-error skip")
def DICOM_that_is_damaged(p):
    path = make.dicom(p.tmp / "x.dcm", np.zeros((8, 8), np.uint16))
    path.write_bytes(path.read_bytes()[:200])
    return ("predict", p.run, path, "--out", p.tmp / "p.json")


@case(r"nothing.png: no such file or folder")
def image_named_but_missing(p):
    return ("predict", p.run, p.tmp / "nothing.png", "--out", p.tmp / "p.json")


# --- runs and checkpoints


@case(r"nowhere: no such run folder or predictions file")
def run_that_is_missing(p):
    return ("eval", p.tmp / "nowhere")


@case(r"not a run folder \(no config.yaml\); `wsrpn train` makes one")
def folder_that_is_no_run(p):
    return ("eval", p.good)


@case(r"best-\d+.safetensors: damaged, its sha256 does not match.*Put a whole copy back")
def checkpoint_with_a_flipped_bit(p):
    run = p.copy(p.run)
    path = next((run / "checkpoints").glob("best-*.safetensors"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    return ("heatmap", run, "--out", p.tmp / "h")


@case(r"best-\d+.json: damaged, its hash does not match")
def checkpoint_with_another_state(p):
    run = p.copy(p.run)
    path = next((run / "checkpoints").glob("best-*.json"))
    path.write_text(path.read_text().replace('"monitor": "auroc"', '"monitor": "aurox"'))
    return ("eval", run)


@case(r"run.json: not readable as the facts of a run")
def run_facts_that_are_cut_off(p):
    run = p.copy(p.run)
    (run / "run.json").write_text((run / "run.json").read_text()[:30])
    return ("eval", run)


@case(r"run.json: damaged, it has no list 'classes'; train again")
def run_facts_without_the_classes(p):
    run = p.copy(p.run)
    (run / "run.json").write_text("{}")
    return ("eval", run)


@case(r"has a training already; --resume goes on with it, another --out")
def run_folder_in_use_without_resume(p):
    return ("train", "wsrpn-demo", "--data", p.good, "--out", p.run, *cli.sets())


@case(r"config.yaml: train.lr was 0.002 when this run began.* 0.1 now; resume with the same")
def resume_with_another_config(p):
    lr = ("--set", "train.lr=0.1")
    return ("train", "wsrpn-demo", "--data", p.good, "--out", p.run, *cli.sets(), *lr, "--resume")


@case(r"there is no training to resume; leave --resume out")
def resume_of_nothing(p):
    return p.train(p.good, "--resume")


@case(r"the data set is not the one this run began with .*resume with the same --data")
def resume_with_other_data(p):
    other = make.manifest(p.tmp / "other", 30, size=(48, 48))
    run = p.copy(p.run)
    return (
        "train",
        "wsrpn-demo",
        "--data",
        other,
        "--out",
        run,
        *cli.sets(),
        "--resume",
        "--epochs",
        1,
    )


@case(r"file: is a file; a folder is expected")
def run_folder_that_is_a_file(p):
    (p.tmp / "file").write_text("")
    return ("train", "wsrpn-demo", "--data", p.good, "--out", p.tmp / "file", *cli.sets())


# --- calibrations, predictions and options of the other commands


@case(r"c.json: no such file; a calibration was expected")
def calibration_that_is_missing(p):
    return ("eval", p.run, "--calibration", p.tmp / "c.json")


@case(r"calibration is for the classes left, wrong and the predictions have left, right")
def calibration_of_other_classes(p):
    text = (p.run / "calibration.json").read_text()
    (p.tmp / "c.json").write_text(text.replace('"right"', '"wrong"'))
    return ("eval", p.run, "--calibration", p.tmp / "c.json", "--out", p.tmp / "e")


@case(r"c.json: damaged calibration .*Calibrate again")
def calibration_with_numbers_missing(p):
    tree = json.loads((p.run / "calibration.json").read_text())
    (p.tmp / "c.json").write_text(json.dumps({**tree, "temperature": [1.0]}))
    return ("heatmap", p.run, "--calibration", p.tmp / "c.json", "--out", p.tmp / "h")


@case(r"None of the \d+ images of .* has a prediction; the predictions are of z.png")
def predictions_of_unknown_images(p):
    (p.tmp / "p.csv").write_text("image,label,score,x,y,width,height\nz.png,left,0.5,1,1,2,2\n")
    return ("eval", p.tmp / "p.csv", "--data", p.good)


@case(r"p.csv: row 2: score is 'high'")
def predictions_with_a_score_that_is_no_number(p):
    (p.tmp / "p.csv").write_text("image,label,score,x,y,width,height\na.png,left,high,1,1,2,2\n")
    return ("eval", p.tmp / "p.csv", "--data", p.good)


@case(r"p.csv: column 'score' is missing. Did you mean 'scores'")
def predictions_without_a_column(p):
    (p.tmp / "p.csv").write_text("image,label,scores,x,y,width,height\n")
    return ("eval", p.tmp / "p.csv", "--data", p.good)


@case(r"predictions need their truth: pass --data")
def predictions_without_their_truth(p):
    (p.tmp / "p.csv").write_text("image,label,score,x,y,width,height\n")
    return ("eval", p.tmp / "p.csv")


@case(r"p.json: neither predictions of `wsrpn predict` nor a COCO results list")
def JSON_that_holds_no_predictions(p):
    (p.tmp / "p.json").write_text("{}")
    return ("eval", p.tmp / "p.json", "--data", p.good)


@case(r"has none of the model's classes \(left, right\); its own are up")
def data_of_other_classes(p):
    rows = [{"image": f"{n}.png", "labels": "up"} for n in range(3)]
    other = make.manifest(p.tmp / "other", rows)
    return ("eval", p.run, "--data", other, "--split", "all")


@case(r"no image in split test \(train 24, val 24, test 0\)")
def split_that_is_empty(p):
    folder = p.copy(p.good)
    lines = (folder / "images.csv").read_text().splitlines()
    split = [line + (",train" if n % 2 else ",val") for n, line in enumerate(lines[1:])]
    (folder / "images.csv").write_text("\n".join([lines[0] + ",split", *split]))
    return ("predict", p.run, "--data", folder, "--split", "test", "--out", p.tmp / "p.json")


@case(r"--require ap@0.3=>1: write it as NAME>=NUMBER")
def requirement_that_cannot_be_read(p):
    return ("eval", p.run, "--require", "ap@0.3=>1")


@case(r"--split tset: .*Did you mean 'test'")
def unknown_split(p):
    return ("eval", p.run, "--split", "tset")


@case(r"--class lefty: not a class of this run. Did you mean 'left'")
def unknown_class(p):
    return ("heatmap", p.run, "--class", "lefty", "--out", p.tmp / "h")


@case(r"--format bmp: .*Known: pdf, png, svg")
def unknown_format(p):
    return ("heatmap", p.run, "--format", "bmp", "--out", p.tmp / "h")


@case(r"--device toaster: no such device; use cpu, cuda, cuda:N or auto\.$")
def unknown_device(p):
    return (
        "predict",
        p.run,
        p.good / "images/000.png",
        "--device",
        "toaster",
        "--out",
        p.tmp / "p.json",
    )


@case(r"--on-error ignore: .*Known: skip, stop")
def unknown_way_to_go_on(p):
    return ("predict", p.run, p.good / "images/000.png", "--on-error", "ignore")


@case(r"No objective is called 'f2'. Known: f1, youden, specificity@0.95")
def unknown_objective(p):
    return ("calibrate", p.run, "--objective", "f2")


@case(r"--method isotonic: .*Known: platt, temperature")
def unknown_method(p):
    return ("calibrate", p.run, "--method", "isotonic")


@case(r"has no column 'sauce'")
def column_that_the_data_lack(p):
    return ("eval", p.run, "--by", "sauce", "--bootstrap", 0, "--out", p.tmp / "e")


@case(r"p.parquet: predictions are written as .json or .csv")
def predictions_in_an_unknown_format(p):
    return ("predict", p.run, p.good / "images/000.png", "--out", p.tmp / "p.parquet")


@case(r"name image files or pass --data, one of the two")
def neither_files_nor_data(p):
    return ("predict", p.run)


@case(r"name image files or pass --data, not both")
def files_and_data(p):
    return ("heatmap", p.run, p.good / "images/000.png", "--data", p.good, "--out", p.tmp / "h")


@case(r"file: (File exists|Not a directory)")
def folder_for_results_that_is_a_file(p):
    (p.tmp / "file").write_text("")
    return ("eval", p.run, "--bootstrap", 0, "--out", p.tmp / "file")


@case(r"images.csv: exists already; choose another --out")
def phantom_over_other_data(p):
    return ("data", "phantom", "cxr", "--out", p.good)


@case(r"size is 8, at least 32|size: .*32")
def phantom_too_small(p):
    return ("data", "phantom", "cxr", "--out", p.tmp / "ph", "--size", 8, "--images", 1)


@case(r"f.txt: is a file; a folder is expected")
def folder_of_phantoms_that_is_a_file(p):
    (p.tmp / "f.txt").write_text("x")
    return ("data", "phantom", "cxr", "--out", p.tmp / "f.txt", "--images", 1)


@case(r"f.txt: is a file; a folder is expected")
def folder_of_a_conversion_that_is_a_file(p):
    (p.tmp / "f.txt").write_text("x")
    return ("data", "convert", p.good, "--out", p.tmp / "f.txt", "--copy")


@case(r"^/proc/x.json: No such file or directory\.$")
def predictions_where_nothing_can_be_written(p):
    return ("predict", p.run, p.good / "images/000.png", "--out", "/proc/x.json")


@case(r"Model wsrpn does not cut its boxes out of maps; leave --map-threshold out\.")
def map_threshold_of_a_model_without_maps(p):
    return ("calibrate", p.run, "--map-threshold", "auto")


@case(r"no image-level answer.*CSV holds boxes only.*--out FILE.json")
def calibration_of_a_table_of_boxes(p):
    out = p.tmp / "x.csv"
    cli.wsrpn("predict", p.run, "--data", p.good, "--out", out)
    return ("calibrate", out, "--data", p.good, "--split", "all")


@case(r"no image of split train has a known label.*column 'label' .* did you mean 'labels'")
def column_of_labels_misspelt(p):
    table = "image,label\n" + "".join(f"images/{n:03d}.png,left\n" for n in range(9))
    return p.text(table)


@case(r"wsrpn: No such command 'trian'. Did you mean 'train'")
def unknown_command(p):
    return ("trian", "wsrpn-demo")


@case(r"wsrpn eval: No such option: --spilt .*--split.*`wsrpn eval --help`")
def unknown_option(p):
    return ("eval", p.run, "--spilt", "test")


@case(r"wsrpn train: Missing argument")
def missing_argument(p):
    return ("train",)


@case(r"wsrpn eval: Invalid value for '--bootstrap'")
def option_that_is_not_a_number(p):
    return ("eval", p.run, "--bootstrap", "many")


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gives_exit_code_2_and_one_sentence(name, tmp_path, data, trained):
    function, says = CASES[name]
    done = cli.wsrpn(*function(Place(tmp_path, data, trained)))
    assert (done.exit_code, done.stdout) == (2, ""), (done.exit_code, done.stderr, done.stdout)
    told = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert len(told) == 1, told
    assert re.search(says, told[0]), told[0]
    assert len(told[0]) < 800
    assert "Traceback" not in told[0]


def test_there_are_at_least_thirty_kinds():
    assert len(CASES) >= 30
