import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine.compress import finetune
from engine.compress.finetune import Schedule, one_cycle, reuses_batch_norm, train, zero_keeper
from engine.compress.pruning.weights import prune_magnitude, trained_zeros
from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.errors import StepError
from engine.models.pruned import mark_pruned, pruned_masks
from engine.models.zoo import BUILDERS
from engine.spec.steps import Finetune, Prune
from tests.helpers.nets import IMAGE_NETS

torch.set_num_threads(1)


def stripes(n=256, size=8) -> Dataset:
    """Horizontal, vertical or no stripes in noise: learnable in seconds."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n)
    inputs = rng.normal(0, 1, (n, 1, size, size)).astype(np.float32)
    wave = np.tile([2.0, -2.0], size // 2).astype(np.float32)
    inputs[labels == 0, 0] += wave[:, None]
    inputs[labels == 1, 0] += wave[None, :]
    split = Split(inputs, labels)
    return Dataset("stripes", "0" * 64, ("h", "v", "n"), Preprocessing(1.0, (0.0,), (1.5,)), split, split, split, split)


def small(dropout=0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def loss_of(network: nn.Module, data: Dataset) -> float:
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(data.preprocessing(data.test.inputs)))
    return float(F.cross_entropy(logits, torch.from_numpy(data.test.labels)))


DATA = stripes()


def test_finetune_learns_and_leaves_its_input_alone():
    network = small()
    before = copy.deepcopy(network.state_dict())
    losses = []
    tuned = finetune.apply(
        Finetune(epochs=12, learning_rate=0.05),
        network,
        DATA,
        0,
        on_epoch=lambda epoch, loss: losses.append((epoch, loss)),
    )
    assert loss_of(tuned, DATA) < 0.5 * loss_of(network, DATA)
    assert [epoch for epoch, _ in losses] == list(range(1, 13))
    assert losses[-1][1] < losses[0][1]
    assert not tuned.training
    assert all(torch.equal(t, before[k]) for k, t in network.state_dict().items())


def matrices(network: nn.Module) -> list[torch.Tensor]:
    return [p.detach() for p in network.parameters() if p.ndim > 1]


def test_pruned_weights_stay_zero_and_the_others_move():
    pruned = small()
    prune_magnitude(Prune(method="magnitude", ratio=0.7), pruned, None)
    tuned = finetune.apply(Finetune(epochs=2), pruned, DATA, 0)
    for old, new in zip(matrices(pruned), matrices(tuned), strict=True):
        assert torch.equal(new == 0, old == 0)
        assert not torch.equal(new, old)


def test_only_what_was_pruned_is_kept_at_zero():
    """A head that starts at zero is trained, before pruning and after, and so are single zeros, the ones of a residual branch, biases."""
    network = small()
    head = network[-1]
    nn.init.zeros_(head.weight)
    tuned = finetune.apply(Finetune(epochs=4), network, DATA, 0)
    assert tuned[-1].weight.count_nonzero() == head.weight.numel()
    total = sum(w.numel() for w in matrices(network))
    prune_magnitude(Prune(method="magnitude", ratio=0.5), network, None)
    assert sum(int((w == 0).sum()) for w in matrices(network)) == round(0.5 * total)
    tuned = finetune.apply(Finetune(epochs=4), network, DATA, 0)
    assert tuned[-1].weight.count_nonzero() == head.weight.numel()
    assert sum(int((w == 0).sum()) for w in matrices(tuned)) == round(0.5 * total) - head.weight.numel()


def test_zeros_that_no_step_pruned_are_told_of_where_they_are_many():
    network = small()
    prune_magnitude(Prune(method="magnitude", ratio=0.7), network, None)
    assert trained_zeros(network) is None
    with torch.no_grad():
        network[0].weight.view(-1)[:36] = 0  # half of the first layer
    mask, zero = pruned_masks(network)["0.weight"][1], network[0].weight == 0
    free, total = int((zero & ~mask).sum()), sum(w.numel() for w in matrices(network))
    assert free > 0.1 * total
    assert trained_zeros(network).startswith(f"{100 * free / total:.3g} % of the weights were zero")


def test_zero_keeper_keeps_the_mask_and_nothing_else():
    layer = nn.Linear(2, 2)
    layer.weight.data.zero_()
    layer.bias.data.zero_()
    mark_pruned(layer, "weight", torch.tensor([[True, False], [False, False]]))
    keep = zero_keeper(layer)
    layer.weight.data += 1
    layer.bias.data += 1
    keep()
    assert layer.weight.tolist() == [[0, 1], [1, 1]]
    assert layer.bias.tolist() == [1, 1]


def test_the_seed_decides_the_result():
    states = [finetune.apply(Finetune(), small(), DATA, seed).state_dict()["0.weight"] for seed in (1, 1, 2)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_finetune_draws_nothing_from_the_shared_generator():
    """Other threads of the process train at the same time; dropout and seeding would make results depend on them."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = finetune.apply(Finetune(), small(0.5), DATA, 1).state_dict()["0.weight"]
    torch.manual_seed(6)
    second = finetune.apply(Finetune(), small(0.5), DATA, 1).state_dict()["0.weight"]
    assert torch.equal(first, second)
    network = small(0.5)
    torch.set_rng_state(before)
    finetune.apply(Finetune(), network, DATA, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_samples_caps_the_images_of_an_epoch_and_draws_them_anew():
    seen = []

    def loss(logits, batch):
        seen.append(set(batch.index.tolist()))
        return finetune.cross_entropy(logits, batch)

    train(small(), DATA.train, DATA.preprocessing, Schedule(2, samples=48, batch_size=64), 0, loss)
    assert [len(s) for s in seen] == [48, 48]
    assert seen[0] != seen[1]


@pytest.mark.parametrize(("images", "batch_size"), [(2, 256), (33, 32), (20, 256)])
def test_tiny_sets_and_ragged_last_batches_train(images, batch_size):
    network = nn.Sequential(nn.Conv2d(1, 4, 8), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3))
    losses = []
    schedule = Schedule(1, batch_size=batch_size)
    train(
        network, DATA.train.head(images), DATA.preprocessing, schedule, 0, on_epoch=lambda _, loss: losses.append(loss)
    )
    assert np.isfinite(losses).all()
    assert all(torch.isfinite(p).all() for p in network.parameters())


class Recorder(nn.Module):
    """Keeps the images that it is trained on."""

    def __init__(self):
        super().__init__()
        self.linear, self.seen = nn.Linear(1, 3), []

    def forward(self, x):
        self.seen.append(x.clone())
        return self.linear(x.mean((1, 2, 3))[:, None])


def trained_images(schedule: Schedule, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(images as trained on, stored images, whether mirrored), in the order of training."""
    network, batches = Recorder(), []

    def loss(logits, batch):
        batches.append(batch)
        return finetune.cross_entropy(logits, batch)

    train(network, split, Preprocessing(1.0, (0.0,), (1.0,)), schedule, 0, loss)
    index = torch.cat([b.index for b in batches]).numpy()
    mirrored = torch.cat([b.mirrored for b in batches]).numpy()
    return torch.cat(network.seen).numpy(), split.inputs[index], mirrored


def numbered(n=200) -> Split:
    """Images of 9×7 whose every pixel tells where it came from."""
    inputs = np.arange(n)[:, None, None, None] * 100 + np.arange(63).reshape(1, 1, 9, 7)
    return Split(inputs.astype(np.float32), np.zeros(n, np.int64))


@pytest.mark.parametrize("mirror", [True, False])
def test_half_of_the_images_are_mirrored_and_the_loss_is_told_which(mirror):
    images, stored, mirrored = trained_images(Schedule(1, mirror=mirror), numbered())
    assert 60 < mirrored.sum() < 140 if mirror else not mirrored.any()
    assert np.array_equal(images, np.where(mirrored[:, None, None, None], stored[..., ::-1], stored))


def test_each_image_is_shifted_by_an_offset_of_its_own():
    """What comes in at the border repeats the edge; a whole batch moved alike would show one offset."""
    images, stored, mirrored = trained_images(Schedule(1, shift_pixels=2), numbered())
    offsets = set()
    for image, original, flipped in zip(images[:, 0], stored[:, 0], mirrored, strict=True):
        original = original[:, ::-1] if flipped else original
        fits = []
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                rows, columns = np.clip(np.arange(9) + dy, 0, 8), np.clip(np.arange(7) + dx, 0, 6)
                if np.array_equal(image, original[np.ix_(rows, columns)]):
                    fits.append((dy, dx))
        assert len(fits) == 1
        offsets.add(fits[0])
    assert len(offsets) == 25


def test_augment_says_what_finetuning_does_to_images():
    for augment, mirror, shift in (("none", False, 0), ("mirror", True, 0), ("shift", True, 2)):
        schedule = Schedule(1, **finetune.augmentation(augment))
        assert (schedule.mirror, schedule.shift_pixels) == (mirror, shift)
    tuned = [
        finetune.apply(Finetune(augment=augment), small(), DATA, 0).state_dict()["0.weight"]
        for augment in ("none", "mirror", "shift")
    ]
    assert not torch.equal(tuned[0], tuned[1])
    assert not torch.equal(tuned[1], tuned[2])


def test_what_the_loss_learns_is_trained_too():
    scale = nn.Parameter(torch.zeros(2, 2))
    train(
        small(), DATA.train, DATA.preprocessing, Schedule(3, batch_size=16, weight_decay=0.0), 0,
        lambda logits, batch: finetune.cross_entropy(logits, batch) + (scale - 1).square().sum(),
        loss_parameters=[scale],
    )  # fmt: skip
    torch.testing.assert_close(scale.data, torch.ones(2, 2), atol=0.2, rtol=0)


@pytest.mark.parametrize("steps", [10, 57, 844])
def test_learning_rate_is_torchs_one_cycle(steps):
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=steps, pct_start=0.2, cycle_momentum=False
    )
    for step in range(steps - 1):
        assert one_cycle(step, steps, 0.2) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("steps", range(1, 12))
def test_the_shortest_trainings_have_a_learning_rate(steps):
    rates = [one_cycle(step, steps, 0.2) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)


def test_divergence_is_said_with_the_rate():
    with pytest.raises(StepError, match=r"diverged in epoch \d; use a learning_rate below 10"):
        finetune.apply(Finetune(learning_rate=10, epochs=3), _exploding(), DATA, 0)


def _exploding() -> nn.Module:
    network = nn.Sequential(nn.Flatten(), *(nn.Linear(64, 64, bias=False) for _ in range(4)), nn.Linear(64, 3))
    for layer in network[1:5]:
        layer.weight.data *= 30
    return network


def test_frozen_batch_norms_keep_their_statistics():
    for frozen, same in ((1, True), (0, False)):
        network = small()
        before = network[1].running_mean.clone()
        train(network, DATA.train, DATA.preprocessing, Schedule(1, freeze_bn_epochs=frozen), 0)
        assert torch.equal(network[1].running_mean, before) == same


def test_only_networks_that_apply_a_norm_twice_reuse_it():
    found = {name: reuses_batch_norm(BUILDERS[name](), (1, 28, 28)) for name in IMAGE_NETS}
    assert found == {name: name == "recursive_resnet" for name in found}


def test_large_sets_are_never_converted_whole():
    """Pixels stay uint8 but for the batch at hand."""
    sizes = []

    class Watched(Preprocessing):
        def __call__(self, inputs):
            sizes.append(len(inputs))
            return super().__call__(inputs)

    watched = Watched(**vars(DATA.preprocessing))
    finetune.apply(Finetune(), small(), replace(DATA, preprocessing=watched), 0)
    assert max(sizes) <= Schedule(1).batch_size
    # One item alone tells what the network reads.
    assert sum(n for n in sizes if n > 1) == len(DATA.train)


def test_a_network_that_is_frozen_whole_is_told_of_and_one_that_is_in_part_trains_the_rest():
    network = small()
    for parameter in network[0].parameters():
        parameter.requires_grad_(False)
    trained = finetune.apply(Finetune(epochs=1), network, stripes(), seed=0)
    assert torch.equal(trained[0].weight, network[0].weight)
    assert not torch.equal(trained[-1].weight, network[-1].weight)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(StepError, match="every parameter of the network is frozen"):
        finetune.apply(Finetune(epochs=1), network, stripes(), seed=0)


def test_a_network_without_batch_norms_that_diverges_is_trained_with_shorter_gradients():
    """Outputs that hardly vary make the scaled error, and its gradients, so large that the first steps would end in no numbers."""
    torch.manual_seed(0)
    network, data = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3)), stripes()

    def steep(logits, batch):
        return (logits - logits.detach().roll(1, 0)).square().mean() * 1e9

    notes, seen = [], []
    step = Finetune(epochs=2, learning_rate=0.02)
    trained = finetune.apply(
        step, network, data, 0, lambda epoch, value: seen.append(epoch), loss=steep, on_note=notes.append
    )
    assert notes == ["training diverged with gradients as they come; they were shortened to length 1"]
    assert all(torch.isfinite(p).all() for p in trained.parameters())
    assert seen[-2:] == [1, 2]
    with pytest.raises(StepError, match="training diverged"):
        finetune.apply(step, nn.Sequential(nn.BatchNorm2d(1), *network), data, 0, loss=steep)
