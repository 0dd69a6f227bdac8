"""The autoencoder of tiles, its scores, and the head on its encoder."""

import itertools

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from wsrpn import checkpoint, elbo
from wsrpn import config as configs
from wsrpn.checkpoint import Checkpoint
from wsrpn.errors import InputError
from wsrpn.losses import Objective
from wsrpn.models import build, filled
from wsrpn.models.base import FitsOnValidation
from wsrpn.types import Batch

SMALL = {"name": "vae", "width": 8, "latent": 5, "depth": 3}


def tiles(count=6, size=(24, 24)):
    random = torch.Generator().manual_seed(5)
    return Batch(
        ids=tuple(map(str, range(count))),
        images=torch.rand(count, 3, *size, generator=random),
        labels=torch.zeros(count, 1),
        sizes_px=torch.tensor([size] * count),
    )


def vae(**options):
    torch.manual_seed(1)
    return build({**SMALL, **options}, classes=1)


# Skips


def test_training_without_chance_is_scoring_with_all_skips_or_with_none():
    batch = tiles()
    for dropout, skips in ((0.0, True), (1.0, False)):
        net = vae(skip_dropout=dropout, sample=False).train()
        assert_close(net(batch).reconstruction, net.reconstruct(batch.images, skips=skips))


def test_each_skip_of_each_tile_is_dropped_whole_or_kept_as_it_is():
    net = vae(skip_dropout=0.25)
    skips = [torch.rand(4000, 2, 3, 3) + 1, torch.rand(4000, 4, 2, 2) + 1]
    kept = net._some(skips)
    left = []
    for skip, some in zip(skips, kept, strict=True):
        alive = (some != 0).flatten(1)
        assert torch.equal(alive.all(1), alive.any(1))
        assert torch.equal(some[alive.all(1)], skip[alive.all(1)])
        left.append(alive.all(1))
        assert 0.72 < alive.all(1).float().mean() < 0.78
    both = (left[0] & left[1]).float().mean()
    assert 0.53 < both < 0.595, "the stages are dropped independently, 0.75²"


def test_in_training_a_tile_is_decoded_from_one_of_the_sets_of_its_skips():
    net, batch = vae(skip_dropout=0.5, sample=False).train(), tiles(1)
    latent, stages = net.encode(batch.images)
    possible = []
    for keep in itertools.product((0.0, 1.0), repeat=len(stages) - 1):
        skips = [stage * k for stage, k in zip(stages, keep, strict=False)]
        possible.append(net.decode(latent.mean, skips, like=stages, size=(24, 24)))
    seen = set()
    for _ in range(40):
        found = net(batch).reconstruction
        (which,) = [i for i, p in enumerate(possible) if torch.allclose(p, found, atol=1e-6)]
        seen.add(which)
    assert seen == set(range(4))


def test_without_skips_all_that_is_decoded_comes_through_the_latent():
    net, images = vae(skips=False).eval(), tiles().images
    assert_close(net.reconstruct(images, skips=True), net.reconstruct(images, skips=False))
    latent, stages = net.encode(images)
    other = [torch.rand_like(stage) for stage in stages]
    again = net.decode(latent.mean, other[:-1], like=other, size=(24, 24))
    assert_close(again, net.reconstruct(images, skips=True))


def test_swapped_latents_are_those_of_the_next_tile():
    net, images = vae().eval(), tiles().images
    latent, stages = net.encode(images)
    moved = torch.cat((latent.mean[1:], latent.mean[:1]))
    expected = net.decode(moved, stages[:-1], like=stages, size=(24, 24))
    assert_close(net.reconstruct(images, skips=True, swap=True), expected)
    without = net.reconstruct(images, skips=False)
    assert_close(net.reconstruct(images, skips=False, swap=True), without.roll(-1, 0))


def test_a_new_decoder_draws_no_checkerboard():
    images = vae().reconstruct(tiles().images, skips=False)
    phases = [images[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
    assert all(torch.equal(phases[0], phase) for phase in phases)
    assert phases[0].std() > 1e-3


# Latent


def test_training_draws_around_the_mean_with_the_standard_deviation():
    net = vae()
    latent, _ = net.encode(tiles(1).images)
    drawn = torch.cat([net._drawn(latent) for _ in range(4000)])
    sigma = (latent.log_variance[0] / 2).exp()
    assert_close(drawn.mean(0), latent.mean[0], atol=0.08 * sigma.max().item(), rtol=0)
    assert_close(drawn.std(0), sigma, rtol=0.06, atol=0)


@pytest.mark.parametrize("sign", [-1, 1])
def test_huge_activations_leave_loss_and_gradients_finite(sign):
    net, batch = vae().train(), tiles()
    with torch.no_grad():
        net.encoder.tail.linear.bias.fill_(sign * 10_000.0)
    output = net(batch)
    assert output.latent.log_variance.abs().max() <= 10
    weights = {"reconstruction": 1.0, "latent": 1.0}
    loss, _ = Objective({"latent": {"capacity": 120.0}})(output, batch, weights)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_a_tile_of_another_size_has_a_latent_of_the_same_length():
    net = vae().eval()
    for size in ((16, 16), (33, 50), (96, 96)):
        latent, stages = net.encode(tiles(2, size).images)
        assert latent.mean.shape == (2, 5)
        assert stages[0].shape[2:] == (-(-size[0] // 2), -(-size[1] // 2))


def test_brightness_reaches_the_latent():
    dark, light = torch.full((1, 3, 24, 24), 0.3), torch.full((1, 3, 24, 24), 0.8)
    net = vae().eval()
    assert (net.encode(dark)[0].mean - net.encode(light)[0].mean).abs().max() > 1e-3


# Learning


def test_it_learns_to_reconstruct_and_the_divergence_comes_to_its_capacity():
    torch.manual_seed(2)
    random = torch.Generator().manual_seed(7)
    # Tiles of one number each, their colour: a latent can hold them.
    images = torch.rand(32, 3, 1, 1, generator=random).expand(-1, -1, 24, 24).contiguous()
    batch = Batch(tuple(map(str, range(32))), images, torch.zeros(32, 1), torch.full((32, 2), 24))
    net = vae(skips=False).train()
    objective = Objective(
        {"reconstruction": {"per": "image"}, "latent": {"capacity": 6.0, "reached": 0.0}}
    )
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    before = elbo.errors(net.eval().reconstruct(images, skips=False), images).mean().item()
    net.train()
    told = []
    for _ in range(150):
        output = net(batch)
        loss, _ = objective(output, batch, {"reconstruction": 1.0, "latent": 1.0})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        told.append(elbo.kl_nats(output.latent).mean().item())
    images_now = net.eval().reconstruct(images, skips=False)
    assert elbo.errors(images_now, images).mean() < 0.2 * before
    assert np.mean(told[-20:]) == pytest.approx(6.0, abs=1.0)
    swapped = net.reconstruct(images, skips=False, swap=True)
    assert elbo.errors(swapped, images).mean() > 3 * elbo.errors(images_now, images).mean()


# Scores


def test_the_scores_are_error_divergence_and_the_mean_of_both_standardised():
    net, batch = vae(score="both").eval(), tiles(40)
    assert isinstance(net, FitsOnValidation)
    labels = np.array([[0.0]] * 30 + [[1.0]] * 5 + [[np.nan]] * 5, dtype=np.float32)
    told = net.answers(batch).detach()
    recon = elbo.errors(net.reconstruct(batch.images, skips=True), batch.images)
    kl = elbo.kl_nats(net.encode(batch.images)[0])
    assert_close(told, torch.stack((recon, kl), 1).detach())
    fitted = net.fit(told.numpy(), labels)
    assert set(fitted) == {"recon_mean", "recon_std", "kl_mean", "kl_std"}
    assert all(value.ndim == 0 for value in fitted.values())
    net.load_state_dict(fitted, strict=False)
    normal = told[:30].double()
    standard = (told.double() - normal.mean(0)) / normal.std(0, correction=0)
    scores = net.scores(batch)
    assert_close(scores["score_both"].double(), standard.mean(1), atol=1e-3, rtol=1e-3)
    assert_close(scores["score_recon"], recon)
    assert_close(scores["score_kl"], kl)
    assert torch.equal(scores["score"], scores["score_both"])
    assert_close(net(batch).logits[:, 0], scores["score"])


@pytest.mark.parametrize("score", ["recon", "kl", "both"])
def test_the_score_that_was_chosen_leads(score):
    net, batch = vae(score=score).eval(), tiles()
    net.recon_mean.fill_(0.1)
    net.kl_std.fill_(3.0)
    scores = net.scores(batch)
    assert list(scores) == ["score", "score_recon", "score_kl", "score_both"]
    assert torch.equal(scores["score"], scores[f"score_{score}"])
    assert torch.equal(scores["score"].argsort(), net(batch).logits[:, 0].argsort())


def test_tiles_are_scored_in_parts_that_change_nothing(monkeypatch):
    net, batch = vae().eval(), tiles(7)
    whole = net.answers(batch)
    monkeypatch.setattr("wsrpn.models.vae.AT_ONCE", 3)
    assert_close(net.answers(batch), whole)


@pytest.mark.parametrize("error", ["mse", "l1", "ssim"])
def test_scoring_without_skips_decodes_the_latent_alone_and_shows_what_was_trained(error):
    net, batch = vae(score_skips=False, error=error).eval(), tiles()
    alone = elbo.errors(net.reconstruct(batch.images, skips=False), batch.images, kind=error)
    assert_close(net.scores(batch)["score"], alone)
    output = net(batch)
    assert_close(output.logits[:, 0], alone)
    assert_close(output.reconstruction, net.reconstruct(batch.images, skips=True))


def test_where_no_tile_is_known_to_be_normal_nothing_is_fitted_and_equal_ones_do_not_divide_by_0():
    net = vae()
    answers = np.random.default_rng(0).random((4, 2), dtype=np.float32)
    assert net.fit(answers, np.array([[1.0], [np.nan], [1.0], [1.0]])) == {}
    fitted = net.fit(np.full((3, 2), 0.3, dtype=np.float32), np.zeros((3, 1)))
    assert fitted["recon_std"] == fitted["kl_std"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 12}, "model.width must be a multiple of 8"),
        ({"depth": 0}, "model.depth must be between 1 and 6"),
        ({"latent": 0}, "model.latent must be at least 1"),
        ({"skip_dropout": 1.5}, "skip_dropout"),
        ({"score": "best"}, "score"),
    ],
)
def test_sizes_that_cannot_be_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        vae(**options)


def test_ssim_of_tiles_below_its_window_is_refused():
    with pytest.raises(InputError, match=r"model\.error=ssim needs tiles of at least 11"):
        vae(error="ssim").eval().scores(tiles(2, (8, 8)))


# The presets


@pytest.mark.parametrize(
    ("name", "beta", "dropout", "capacity", "patience"),
    [("vae-b1", 1.0, 0.25, 120.0, 0), ("vae-b2", 0.5, 0.5, 200.0, 5)],
)
def test_the_presets_have_the_numbers_of_the_source(name, beta, dropout, capacity, patience):
    run = configs.load(name)
    assert run.phases[0].weights == {"reconstruction": 1.0, "latent": beta}
    model = filled(run.model)
    assert (model["latent"], model["skip_dropout"]) == (64, dropout)
    assert run.losses["latent"]["capacity"] == capacity
    assert (run.train.patience, run.train.monitor, run.data.size) == (patience, "loss", 96)


# The head


@pytest.fixture
def trained(tmp_path):
    """A VAE and what its run folder keeps of it."""
    net = vae(latent=5)
    net.look.copy_(torch.rand(3, 4))
    tensors = checkpoint.flatten("model", net.state_dict())
    path = checkpoint.save(tmp_path / "run" / "checkpoints", "best", Checkpoint(7, tensors, {}))
    return net.eval(), tmp_path / "run", path


def head(weights, **options):
    return build({"name": "tile_head", "weights": str(weights), **options}, classes=1)


def test_the_head_reads_the_latent_of_the_vae_in_its_colours(trained):
    net, run, file = trained
    batch = tiles()
    mean = net.encode(batch.images)[0].mean
    for weights in (run, file):
        found = head(weights).eval()
        assert_close(found(batch).latent.mean, mean)
        assert_close(found(batch).logits, found.head(mean))
        assert torch.equal(found.look, net.look)
        assert found.look_given
        assert_close(found.scores(batch)["score"], found.head(mean)[:, 0].sigmoid())


def test_a_plain_state_of_a_vae_will_do(trained, tmp_path):
    net, _, _ = trained
    save_file(net.state_dict(), tmp_path / "plain.safetensors")
    found = head(tmp_path / "plain.safetensors").eval()
    assert_close(found(tiles()).latent.mean, net.encode(tiles().images)[0].mean)


def test_the_sizes_are_written_out_so_that_a_run_opens_without_the_weights(trained):
    _, run, _ = trained
    section = {"name": "tile_head", "weights": str(run), "features": "posterior"}
    settled = filled(section)
    assert (settled["latent"], settled["width"], settled["depth"]) == (5, 8, 3)
    assert filled(settled) == settled
    first = build(section, classes=1).eval()
    again = build({**settled, "weights": "none"}, classes=1).eval()
    again.load_state_dict(first.state_dict())
    assert torch.equal(first(tiles()).logits, again(tiles()).logits)
    assert filled({"name": "tile_head"})["latent"] == 64


def test_other_sizes_than_those_of_the_weights_are_refused(trained):
    _, run, _ = trained
    assert head(run, latent=5, width=8, depth=3)
    for name, value in (("latent", 64), ("width", 16), ("depth", 4)):
        with pytest.raises(InputError, match=rf"model\.{name}: {value} was asked for.*leave"):
            head(run, **{name: value})


def test_weights_that_are_no_vae_are_refused_by_name(trained, tmp_path):
    with pytest.raises(InputError, match="no usable 'best' checkpoint"):
        head(tmp_path)
    with pytest.raises(InputError, match=r"no such folder or file: .*run folder of a vae"):
        head(tmp_path / "absent")
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"other\.safetensors: holds no encoder of a vae"):
        head(tmp_path / "other.safetensors")
    state = trained[0].state_dict()
    del state["encoder.body.1.1.conv.weight"]
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(InputError, match=r"less\.safetensors: does not fit the encoder"):
        head(tmp_path / "less.safetensors")


def test_a_frozen_encoder_gets_no_gradient_and_the_head_does():
    net = head("none", latent=4, width=8, depth=2).train()
    net.encoder.requires_grad_(False)
    net(tiles()).logits.sum().backward()
    assert all(p.grad is None for p in net.encoder.parameters())
    assert all(p.grad is not None for p in net.head.parameters())
