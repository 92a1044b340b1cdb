"""Tests of DiffAugment against its paper, of its gradients, and of ADA's controller."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training.gan.augment import TRANSPARENT, AdaptiveP, RandomNumbers, augment, jitter_colours, translate

GROUPS = ("colour", "translation", "cutout")
NEVER = 1.0  # a random number that no p exceeds
LIMITS = {
    8: 1,
    28: 4,
    32: 4,
    64: 8,
    96: 12,
    128: 16,
    256: 32,
}  # of translation: int(side / 8 + 0.5) in the paper's code


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def noise(count: int, channels: int = 3, side: int = 16) -> Tensor:
    return torch.rand(count, channels, side, side) * 2 - 1


def only(group: str | None, images: Tensor) -> RandomNumbers:
    """Random numbers under which at most one group is applied."""
    never = torch.full((len(images),), NEVER)
    return RandomNumbers.sample(images)._replace(**{name: never for name in GROUPS if name != group})


def share_changed(images: Tensor, augmented: Tensor) -> float:
    """Share of images that augmentation changed."""
    return (images != augmented).flatten(1).any(1).float().mean().item()


def test_p_0_is_the_identity() -> None:
    images = noise(50)
    assert torch.equal(augment(images, 0.0), images)
    assert torch.equal(augment(images, torch.tensor(0.0)), images)
    assert torch.equal(augment(images, 0.0, RandomNumbers.sample(images)), images)


@pytest.mark.parametrize("p", [0.5, torch.tensor(0.5)])
@pytest.mark.parametrize("group", GROUPS)
def test_p_is_the_share_of_images_that_a_group_changes(group: str, p: float | Tensor) -> None:
    images = noise(2000, channels=1, side=32)
    assert share_changed(images, augment(images, p, only(group, images))) == pytest.approx(0.5, abs=0.04)


def test_the_groups_are_applied_independently() -> None:
    images = noise(2000, channels=1, side=32)
    # 1 in 81 translations is by no pixel.
    assert share_changed(images, augment(images, 0.5)) == pytest.approx(1 - 0.5 * 0.5 * (0.5 + 0.5 / 81), abs=0.03)


def test_p_1_changes_every_image() -> None:
    images = noise(2000)
    assert share_changed(images, augment(images, 1.0)) == 1.0


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 28, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shape_and_dtype_are_kept(channels: int, side: int, dtype: torch.dtype) -> None:
    images = noise(1, channels, side).to(dtype)
    for p in (1.0, torch.tensor(1.0)):
        augmented = augment(images, p)
        assert (augmented.shape, augmented.dtype) == (images.shape, dtype)
        assert augmented.isfinite().all()


@pytest.mark.parametrize("side", LIMITS)
@pytest.mark.parametrize(("uniform", "direction"), [(0.0, -1), (1 - 2**-24, 1)])
def test_the_smallest_and_largest_random_numbers_translate_by_the_limit(
    side: int, uniform: float, direction: int
) -> None:
    images = noise(1, side=side)
    edge = torch.full((1,), uniform)
    moved = augment(images, 1.0, only("translation", images)._replace(down=edge, right=edge))
    limit = torch.tensor([direction * LIMITS[side]])
    assert torch.equal(moved, translate(images, limit, limit))


def test_the_same_seed_gives_the_same_result() -> None:
    images = noise(20)
    results = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        results.append(augment(images, 0.7))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_equal_random_numbers_apply_equal_operations() -> None:
    real, fake = noise(40), noise(40)
    random = RandomNumbers.sample(real)
    # Holds for operations that do not depend on the images: they are affine.
    mean = (augment(real, 0.6, random) + augment(fake, 0.6, random)) / 2
    torch.testing.assert_close(augment((real + fake) / 2, 0.6, random), mean, atol=1e-5, rtol=0)


def test_brightness_shifts_by_up_to_a_half_either_way() -> None:
    grey = torch.zeros(2000, 1, 8, 8)  # which neither saturation nor contrast changes
    augmented = augment(grey, 1.0, only("colour", grey))
    shift = augmented[:, 0, 0, 0]
    # A vector unit may round some of equal pixels differently.
    torch.testing.assert_close(augmented, shift.view(-1, 1, 1, 1).expand_as(augmented), atol=1e-6, rtol=0)
    assert -0.500001 <= shift.min() < -0.49
    assert 0.49 < shift.max() <= 0.500001
    assert shift.mean().item() == pytest.approx(0, abs=0.03)


def factors(before: Tensor, after: Tensor) -> Tensor:
    """Scale factor of each image's values, [N]; asserts that it is constant within an image."""
    factor = (before * after).flatten(1).sum(1) / (before * before).flatten(1).sum(1)
    torch.testing.assert_close(after, before * factor.view(-1, 1, 1, 1), atol=1e-4, rtol=0)
    return factor


def test_saturation_scales_colours_by_0_to_2_and_keeps_each_pixels_grey() -> None:
    images = noise(1000, side=8)
    half = torch.full((len(images),), 0.5)  # no brightness, no contrast
    augmented = augment(images, 1.0, only("colour", images)._replace(brightness=half, contrast=half))
    grey, grey_after = images.mean(1, keepdim=True), augmented.mean(1, keepdim=True)
    torch.testing.assert_close(grey_after, grey, atol=1e-5, rtol=0)
    factor = factors(images - grey, augmented - grey)
    assert -1e-4 <= factor.min() < 0.02
    assert 1.98 < factor.max() <= 2.0001


def test_contrast_scales_values_by_a_half_to_one_and_a_half_and_keeps_each_images_mean() -> None:
    images = noise(1000, side=8)
    half = torch.full((len(images),), 0.5)
    augmented = augment(images, 1.0, only("colour", images)._replace(brightness=half, saturation=half))
    mean, mean_after = (pixels.mean((1, 2, 3), keepdim=True) for pixels in (images, augmented))
    torch.testing.assert_close(mean_after, mean, atol=1e-5, rtol=0)
    factor = factors(images - mean, augmented - mean)
    assert 0.4999 <= factor.min() < 0.51
    assert 1.49 < factor.max() <= 1.5001


def test_saturation_changes_no_image_of_one_channel() -> None:
    images = noise(4, channels=1)
    none, much = torch.zeros(4), torch.full((4,), 2.0)
    torch.testing.assert_close(jitter_colours(images, none, much, torch.ones(4)), images, atol=1e-6, rtol=0)


@pytest.mark.parametrize("side", [8, 28])
def test_translation_moves_by_at_most_an_eighth_of_the_side(side: int) -> None:
    ones = torch.ones(2000, 1, side, side)
    augmented = augment(ones, 1.0, only("translation", ones))[:, 0]
    gone_rows, gone_columns = ((augmented.sum(axis) == 0) for axis in (2, 1))  # [N, side]
    kept = ~(gone_rows[:, :, None] | gone_columns[:, None, :])
    assert torch.equal(augmented, kept.float())  # zeros enter as whole rows and columns, nothing else changes
    for gone in (gone_rows, gone_columns):
        entered = torch.where(gone[:, 0], 1, -1) * gone.sum(1)
        assert sorted(set(entered.tolist())) == list(range(-LIMITS[side], LIMITS[side] + 1))


def test_translation_shifts_pixels_and_pads_with_zeros() -> None:
    images = noise(3, side=8)
    moved = translate(images, torch.tensor([0, 2, -1]), torch.tensor([0, -1, 3]))
    assert torch.equal(moved[0], images[0])
    assert torch.equal(moved[1, :, 2:, :-1], images[1, :, :-2, 1:])
    assert torch.equal(moved[2, :, :-1, 3:], images[2, :, 1:, :-3])
    assert [(image == 0).float().mean().item() for image in moved] == [0, 1 - 6 * 7 / 64, 1 - 7 * 5 / 64]


@pytest.mark.parametrize("side", [8, 28, 256])
def test_cutout_removes_a_quarter_when_centred_and_never_more(side: int) -> None:
    ones = torch.ones(20, 1, side, side)
    half = torch.full((len(ones),), 0.5)
    centred = augment(ones, 1.0, only("cutout", ones)._replace(row=half, column=half))
    inner = slice(side // 4, side // 4 + side // 2)
    assert (centred[:, :, inner, inner] == 0).all()
    assert (centred == 0).float().mean().item() == 0.25

    removed = (augment(ones, 1.0, only("cutout", ones)) == 0).float().mean((1, 2, 3))
    assert removed.max() <= 0.25
    assert removed.min() >= 1 / 16  # the centre lies in a corner at worst


def test_cutout_reaches_every_pixel() -> None:
    ones = torch.ones(2000, 1, 16, 16)
    assert (augment(ones, 1.0, only("cutout", ones)) == 0).any(0).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_gets_a_gradient(channels: int) -> None:
    images = noise(20, channels).requires_grad_()
    (gradient,) = torch.autograd.grad(augment(images, 1.0).square().sum(), images)
    assert gradient.isfinite().all()
    assert (gradient.flatten(1).abs().sum(1) > 0).all()


def test_first_and_second_derivatives_equal_finite_differences() -> None:
    images = noise(3, side=8).double().requires_grad_()
    random = RandomNumbers.sample(images)

    def cubed(pixels: Tensor) -> Tensor:
        return augment(pixels, torch.tensor(0.9), random) ** 3

    assert torch.autograd.gradcheck(cubed, (images,), fast_mode=True)
    assert torch.autograd.gradgradcheck(cubed, (images,), fast_mode=True)


def test_a_gradient_penalty_at_the_pixels_reaches_the_discriminators_weights() -> None:
    discriminator = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Softplus(), nn.Flatten(), nn.LazyLinear(1))
    images = noise(8).requires_grad_()
    logits = discriminator(augment(images, 1.0))
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    gradient.square().sum((1, 2, 3)).mean().backward()  # type: ignore[no-untyped-call]
    for name in ("0.weight", "3.weight"):
        weight_gradient = discriminator.get_parameter(name).grad
        assert weight_gradient is not None
        assert weight_gradient.isfinite().all()
        assert weight_gradient.abs().sum() > 0


RECOGNISED, FOOLED = torch.full((64,), 3.0), torch.full((64,), -3.0)


def updated(ada: AdaptiveP, *batches: Tensor) -> AdaptiveP:
    for logits in batches:
        ada.update(logits)
    return ada


def test_ada_raises_p_by_its_step_after_four_batches_of_recognised_reals() -> None:
    ada = AdaptiveP()
    updated(ada, RECOGNISED, RECOGNISED, RECOGNISED)
    assert ada.p == 0
    ada.update(RECOGNISED)
    assert ada.p == 4 * 64 / 500_000
    updated(ada, *[RECOGNISED] * 4)
    assert ada.p == 2 * 4 * 64 / 500_000


def test_ada_lowers_p_below_the_target_but_not_below_0() -> None:
    step = 4 * 64 / 10_000
    ada = updated(AdaptiveP(kimg=10), *[RECOGNISED] * 8, *[FOOLED] * 4)
    assert ada.p == pytest.approx(step)
    assert updated(ada, *[FOOLED] * 12).p == 0


def test_ada_does_not_raise_p_above_1() -> None:
    assert updated(AdaptiveP(kimg=1), *[RECOGNISED] * 40).p == 1


@pytest.mark.parametrize(("recognised", "direction"), [(7, -1), (8, 0), (9, 1)])
def test_ada_compares_the_mean_sign_with_its_target(recognised: int, direction: int) -> None:
    logits = torch.tensor([0.1] * recognised + [-9.0] * (10 - recognised))  # r_t of 0.4, 0.6 and 0.8
    ada = updated(AdaptiveP(kimg=1), *[torch.ones(10)] * 4)
    assert updated(ada, *[logits] * 4).p - 0.04 == pytest.approx(direction * 0.04)


def test_ada_converges_to_the_target() -> None:
    def discriminator(p: float) -> Tensor:
        """1000 logits whose r_t falls with p, and is 0.6 at p = 0.5."""
        recognised = round(1000 * (1 + 0.9 - 0.6 * p) / 2)
        return torch.where(torch.arange(1000) < recognised, 1.0, -1.0)

    for start in (0.0, 1.0):
        ada = AdaptiveP(kimg=100)
        ada.load_state_dict({**ada.state_dict(), "p": start})
        for _ in range(200):
            ada.update(discriminator(ada.p))
        assert ada.p == pytest.approx(0.5, abs=0.05)


def test_ada_counts_every_sign_of_a_large_batch_in_bf16() -> None:
    logits = torch.ones(999, dtype=torch.bfloat16)
    logits[:200] = -1  # r_t = 599 / 999, just under the target; 599 rounded to bfloat16 is 600, just over it
    ada = updated(AdaptiveP(kimg=100), *[torch.ones(999)] * 4, *[logits] * 4)
    assert ada.p == 0


def saved(state: dict[str, float | int], folder: Path) -> dict[str, float | int]:
    torch.save(state, folder / "state.pt")
    loaded: dict[str, float | int] = torch.load(folder / "state.pt", weights_only=True)
    return loaded


def test_a_resumed_ada_continues_exactly(tmp_path: Path) -> None:
    batches = [torch.randn(32) + 1 for _ in range(50)]
    uninterrupted = AdaptiveP(kimg=3)
    course = [updated(uninterrupted, logits).p for logits in batches]
    assert len(set(course)) > 3

    for stop in (8, 17, 30, 47):  # at and between updates of p
        before, after = updated(AdaptiveP(kimg=3), *batches[:stop]), AdaptiveP(kimg=3)
        state = before.state_dict()
        assert {type(value) for value in state.values()} <= {float, int}
        after.load_state_dict(saved(state, tmp_path))
        assert [updated(after, logits).p for logits in batches[stop:]] == course[stop:]


def test_the_input_is_not_modified() -> None:
    images = noise(10)
    before = images.clone()
    augment(images, 1.0)
    assert torch.equal(images, before)


def sprites(count: int, side: int = 32) -> Tensor:
    """Noise with alpha, as the prepared data has it: black where nothing can be seen."""
    images = noise(count, channels=4, side=side)
    images[:, :, :, side // 2 :] = TRANSPARENT
    return images


def test_colours_change_and_alpha_does_not() -> None:
    images = sprites(200)
    random = only("colour", images)
    augmented = augment(images, 1.0, random)
    assert torch.equal(augmented[:, 3], images[:, 3])
    torch.testing.assert_close(augmented[:, :3], augment(images[:, :3], 1.0, random))
    assert share_changed(images, augmented) == 1.0


def test_what_moves_in_and_what_is_cut_out_of_a_transparent_image_is_transparent() -> None:
    images = torch.ones(200, 4, 32, 32)
    for group in ("translation", "cutout"):
        augmented = augment(images, 1.0, only(group, images))
        changed = (augmented != images).any(1, keepdim=True).expand_as(images)
        assert changed.any()
        assert (augmented[changed] == TRANSPARENT).all()


def test_what_is_cut_out_of_an_oblong_image_has_its_aspect_ratio() -> None:
    ones = torch.ones(1, 1, 64, 32)
    half = torch.full((1,), 0.5)
    cut = augment(ones, 1.0, only("cutout", ones)._replace(row=half, column=half))[0, 0] == 0
    assert (cut.any(1).sum(), cut.any(0).sum()) == (32, 16)
