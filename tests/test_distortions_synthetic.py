"""Synthetic distortions: known values, the same by seed, worse by level, and as a part of a study."""

import colorsys
import json
import pickle
from collections import Counter

import numpy as np
import pytest
from conftest import photograph
from PIL import Image

from benchmarks.distortion_spacing import even, evenness
from distortions.catalogue import configured
from distortions.distort import main
from distortions.synthetic import blur, colour, denoising, noise, resampling, spatial
from distortions.synthetic.distorter import GROUPS, NAMES, Distorter, distorted
from distortions.synthetic.levels import KINDS, LEVELS, Kind
from distortions.synthetic.spaces import floats, from_lab, from_ycbcr, lab, ycbcr
from study.errors import InputError
from study.folder import Study
from study.settings import Codec as Entry
from study.settings import parse_settings, write_settings

CHANCE = np.random.default_rng(0)


def grey(value: int, side: int = 24) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


def mse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean((a.astype(float) - b) ** 2))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (17, 33), (40, 64)])
def test_every_size_stays_and_nothing_is_changed_in_place(name, size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    before = image.copy()
    for level in (1, 5):
        result = Distorter(name, kinds=2).distort(image, level, "seed")
        assert result.shape == image.shape and result.dtype == np.uint8
        assert not np.shares_memory(result, image)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides(name):
    image = photograph(3, 96)
    distorter = pickle.loads(pickle.dumps(Distorter(name, kinds=2)))
    first = distorter.distort(image, 4, "one")
    assert np.array_equal(first, Distorter(name, kinds=2).distort(image.copy(), 4, "one"))
    assert np.array_equal(distorter.distort(image, 0, "one"), image)


CHANCY = {name for name in KINDS if KINDS[name].group in ("noise", "patches")} | {
    "motion-blur",
    "denoising",
    "mean-shift",
    "warp",
    "linear-warp",
    "affine",
}


@pytest.mark.parametrize("name", sorted(CHANCY))
def test_another_seed_gives_other_pixels(name):
    image = photograph(3, 96)
    assert len({Distorter(name).distort(image, 4, f"seed {k}").tobytes() for k in range(8)}) > 1


@pytest.mark.parametrize("name", NAMES)
def test_each_level_is_worse_than_the_one_before(name):
    """By squared error, from none at level 0, on two pictures with two seeds."""
    side = 512 if name in KINDS and KINDS[name].group == "patches" else 128  # so that each level has a block more
    for seed in (1, 2):
        image = photograph(seed, side)
        errors = [mse(Distorter(name, kinds=2).distort(image, level, str(seed)), image) for level in (0, *LEVELS)]
        assert errors[0] == 0 and all(low < high for low, high in zip(errors, errors[1:], strict=False)), errors


def test_levels_and_sources_are_stated():
    for kind in KINDS.values():
        steps = np.diff(kind.amounts)
        assert (steps > 0).all() or (steps < 0).all()
        assert kind.source.split()[0] in ("KADID-10k", "BAPPS") and kind.source.split()[0] in kind.function.__doc__
        assert 0 <= kind.stated <= (5 if kind.source.startswith("KADID-10k") else 0)


def test_all_of_kadid_but_its_two_codecs_are_there():
    """Its kinds are numbered 1 to 25; 9 is JPEG 2000, 10 JPEG, and contrast (25) goes both ways."""
    numbers = Counter(int(kind.source.split()[1]) for kind in KINDS.values() if kind.source.startswith("KADID-10k"))
    assert set(numbers) == set(range(1, 26)) - {9, 10} and {n for n in numbers if numbers[n] > 1} == {25}


def test_the_amounts_that_kadid_states_are_kept():
    """As in imdist_generator.m, which made its images; the other ones in order, below them."""
    stated = {
        1: (0.1, 0.5, 1, 2, 5), 2: (1, 2, 4, 6, 8), 3: (1, 2, 4, 6, 10), 4: (1, 3, 6, 8, 12), 5: (1, 3, 6, 8, 12),
        6: (64, 48, 32, 16, 8), 7: (0.4, 0.2, 0.1, 0, -0.4), 8: (1, 2, 3, 6, 9), 11: (0.001, 0.002, 0.003, 0.005, 0.01),
        12: (0.0001, 0.0005, 0.001, 0.002, 0.003), 13: (0.001, 0.005, 0.01, 0.02, 0.03),
        14: (0.001, 0.005, 0.01, 0.02, 0.05), 15: (0.01, 0.03, 0.05, 0.1, 0.15), 16: (0.1, 0.2, 0.4, 0.7, 1.1),
        17: (0.05, 0.1, 0.2, 0.4, 0.8), 19: (0.05, 0.1, 0.2, 0.5, 1), 20: (20, 40, 60, 80, 100),
        21: (0.01, 0.05, 0.1, 0.2, 0.5), 22: (20, 16, 13, 10, 7), 23: (2, 4, 6, 8, 10),
    }  # fmt: skip
    for kind in KINDS.values():
        if kind.stated:
            assert kind.amounts[-kind.stated :] == stated[int(kind.source.split()[1])][-kind.stated :]


def test_even_amounts_by_hand():
    """Where both distances grow as the amount's square, even levels are at roots; up to what KADID-10k states."""
    amounts = np.arange(1, 11) / 2
    distances = np.stack([amounts**2, 7 * amounts**2], axis=1)
    for stated, last, steps in ((0, 5, 5), (3, 3, 3), (4, 2, 2)):
        kind = Kind(blur.gaussian_blur, (1, 2, 3, 4, 5), "pixels", "blur", "BAPPS", stated)
        found = even(kind, tuple(amounts), distances)
        assert found == pytest.approx([last * (k / steps) ** 0.5 for k in range(1, steps + 1)], rel=0.03)
    assert evenness(np.array([1, 2, 3, 4, 5])) == 1 and evenness(np.array([1, 3, 4, 5, 6])) == 2
    assert evenness(np.array([1, 2, 2, 3, 4])) == evenness(np.array([1, 3, 2, 3, 4])) == float("inf")


def test_colour_spaces_go_there_and_back():
    """CIELAB of sRGB's primaries as published (D65); YCbCr of them as BT.601 has it."""
    image = floats(np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8))
    assert np.abs(from_lab(lab(image)) - image).max() < 1e-4
    assert np.abs(from_ycbcr(ycbcr(image)) - image).max() < 1e-5
    known = {(1, 1, 1): (100, 0, 0), (1, 0, 0): (53.24, 80.09, 67.20), (0, 0, 1): (32.30, 79.19, -107.86)}
    for rgb, expected in known.items():
        assert lab(np.array([[rgb]], np.float32))[0, 0] == pytest.approx(expected, abs=0.05)
    assert ycbcr(np.array([[[1, 0, 0]]], np.float32))[0, 0] == pytest.approx([0.299, -0.168736, 0.5], abs=1e-6)


def test_noise_has_the_variance_it_states():
    middle = grey(128, 200)
    for variance in (0.001, 0.01):
        assert mse(noise.white_noise(middle, variance, np.random.default_rng(0)), middle) == pytest.approx(
            variance * 255**2 + 1 / 12, rel=0.02
        )
        speckle = noise.multiplicative_noise(middle, variance, np.random.default_rng(0))
        assert mse(speckle, middle) == pytest.approx(variance * 128**2 + 1 / 12, rel=0.02)
        wild = noise.coloured_noise(middle, variance**0.5, np.random.default_rng(0))
        assert mse(wild, middle) == pytest.approx(variance * 255**2 + 1 / 12, rel=0.02)
    salted = noise.impulse_noise(middle, 0.03, np.random.default_rng(0))
    assert (salted == 255).mean() == pytest.approx(0.015, abs=0.001) == (salted == 0).mean()
    assert (salted == 128).mean() == pytest.approx(0.97, abs=0.002)
    uniform = noise.uniform_noise(middle, 0.01, np.random.default_rng(0))
    assert mse(uniform, middle) == pytest.approx(0.01 * 255**2 + 1 / 12, rel=0.02)
    assert abs(uniform.astype(int) - 128).max() <= 0.01**0.5 * 3**0.5 * 255 + 0.5
    board = noise.checkerboard(middle, 10 / 255, CHANCE)
    assert (
        set(np.unique(board)) == {118, 138}
        and (board[0, 0] == board[1, 1]).all()
        and (board[0, 0] != board[0, 1]).all()
    )


def test_blur_of_one_pixel_by_hand():
    """A disc's pixels all the same; a Gaussian's neighbour by the formula; a line as long as said."""
    point = grey(0, 25)
    point[12, 12] = 255
    disc = blur.lens_blur(point, 4, CHANCE)[..., 0]
    assert disc[12, 12] == disc[12, 9] == round(255 / (np.pi * 16)) and disc[12, 17] == 0
    soft = blur.gaussian_blur(point, 1, CHANCE)[..., 0]
    weights = np.exp(-(np.arange(-4, 5) ** 2) / 2)
    assert soft[12, 13] == round(255 * float(weights[4] * weights[5] / weights.sum() ** 2))
    line = blur.motion_blur(point, 10, np.random.default_rng(0))[..., 0].astype(float)
    assert line.sum() == pytest.approx(255, rel=0.1)
    y, x = np.indices(line.shape) - 12
    spread = np.linalg.eigvalsh(np.cov(np.stack([x.ravel(), y.ravel()]), aweights=line.ravel(), bias=True))
    assert spread[1] == pytest.approx(10**2 / 12, rel=0.1) and spread[0] < 0.3  # of a line's length, and its width


def test_the_bilateral_filter_by_hand():
    """A step of .5 is kept where the deviation is far below it and blurred where it is far above; by its definition."""
    step = grey(64)
    step[:, 12:] = 192
    assert np.array_equal(blur.bilateral_filter(step, 0.05, CHANCE), step)
    soft = blur.bilateral_filter(step, 50, CHANCE)[12, :, 0].astype(int)
    assert (np.diff(soft) >= 0).all() and soft[11] > 80 and soft[6] == 64
    image = photograph(5, 16)
    values = image.astype(float) / 255
    y, x = np.indices((16, 16))
    for row, column in ((8, 8), (9, 7)):  # all within the radius lies in the picture
        near = np.hypot(y - row, x - column) <= 5
        weight = near * np.exp(
            -((values - values[row, column]) ** 2).sum(axis=2) / (2 * 0.1**2)
            - ((y - row) ** 2 + (x - column) ** 2) / (2 * 2.5**2)
        )
        mean = (weight[..., None] * values).sum(axis=(0, 1)) / weight.sum()
        assert np.abs(blur.bilateral_filter(image, 0.1, CHANCE)[row, column] - 255 * mean).max() < 0.51


def test_noise_is_taken_away_again():
    """Nearly all of it from a flat picture, and a picture comes nearer to what it was; what is fine is lost."""
    for variance in (0.01, 0.03):
        left = denoising.denoising(grey(128, 96), variance, np.random.default_rng(0))
        assert mse(left, grey(128, 96)) < 0.05 * variance * 255**2
    y, x = np.indices((96, 96))
    smooth = np.repeat((128 + 90 * np.sin(x / 9) * np.cos(y / 13)).astype(np.uint8)[..., None], 3, axis=2)
    noisy = noise.white_noise(smooth, 0.01, np.random.default_rng(0))
    assert mse(denoising.denoising(smooth, 0.01, np.random.default_rng(0)), smooth) < 0.1 * mse(noisy, smooth)
    fine = grey(128, 96)
    fine[::2, ::2] = 150
    left, detail = denoising.denoising(fine, 0.05, np.random.default_rng(0)), fine - fine.mean()
    assert 0 <= (left * detail).sum() / (detail**2).sum() < 0.3  # the share of it that is kept


def test_nothing_happens_to_a_flat_picture_that_has_no_detail():
    flat = grey(90)
    blurred = {name for name in KINDS if KINDS[name].group in ("blur", "sharpness", "places")} - {"denoising"}
    for name in blurred:
        assert abs(distorted(flat, name, 5, np.random.default_rng(0)).astype(int) - 90).max() <= 1, name


def test_colours_by_hand():
    """Saturation against colorsys; contrast, mean, quantisation and curves by arithmetic."""
    image = photograph(1, 16)
    weak = colour.desaturation(image, 0.4, CHANCE)
    for pixel, result in zip(image.reshape(-1, 3)[:50], weak.reshape(-1, 3), strict=False):
        hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255))
        assert result == pytest.approx(np.array(colorsys.hsv_to_rgb(hue, saturation * 0.4, value)) * 255, abs=0.51)
    assert len(np.unique(colour.desaturation(image, 0, CHANCE).std(axis=2))) == 1  # grey
    levels = np.array([0, 51, 102, 204, 255], np.uint8)
    ramp = np.repeat(levels[None, :, None], 3, axis=2)
    assert colour.contrast(ramp, 0.5, CHANCE)[0, :, 0].tolist() == [64, 89, 115, 166, 191]
    assert colour.quantisation(ramp, 2, CHANCE)[0, :, 0].tolist() == [0, 0, 0, 255, 255]
    assert colour.quantisation(ramp, 6, CHANCE)[0, :, 0].tolist() == levels.tolist()
    darker = [round(255 * float(v - 1.6 * v * (1 - v))) for v in np.clip(levels / 255, 0, 1)]
    assert colour.darken(ramp, 0.8, CHANCE)[0, :, 0].tolist() == [max(0, value) for value in darker]
    moved = colour.mean_shift(grey(100), 0.1, CHANCE).astype(int) - 100
    assert set(np.unique(abs(moved))) <= {25, 26}
    coloured = colour.colour_quantisation(photograph(1, 64), 8, CHANCE)
    assert len(np.unique(coloured.reshape(-1, 3), axis=0)) <= 8


def test_greys_have_no_colour_to_change():
    ramp = np.repeat(np.arange(0, 250, 10, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(25, axis=0)
    for name in ("desaturation", "oversaturation", "colour-diffusion"):
        assert abs(distorted(ramp, name, 5, CHANCE).astype(int) - ramp).max() <= 2, name


def test_places_by_hand():
    """A shift moves a dot as far as it says; a corner of the homography too; blocks and patches are whole."""
    dot = grey(0, 41)
    dot[20, 20] = 255
    y, x = np.indices((41, 41))
    moved = spatial.shift(dot, 8, np.random.default_rng(3))[..., 0].astype(float)
    centre = (moved * y).sum() / moved.sum() - 20, (moved * x).sum() / moved.sum() - 20
    assert np.hypot(*centre) == pytest.approx(8, abs=0.4)
    blocks = spatial.colour_blocks(np.zeros((384, 512, 3), np.uint8), 1, np.random.default_rng(0))
    assert (blocks.any(axis=2)).sum() == 32 * 32
    gradient = np.zeros((60, 60, 3), np.uint8) + np.arange(60, dtype=np.uint8)[:, None, None] * 4
    patched = spatial.non_eccentricity_patches(gradient, 100, np.random.default_rng(0))
    assert abs(patched.astype(int) - gradient).max() <= 8 * 4 and (patched != gradient).any()
    ghost = spatial.ghosting(dot, 0.3, np.random.default_rng(0))[..., 0]
    assert ghost[20, 20] == round(0.7 * 255)
    pixelated = resampling.pixelate(
        np.kron(np.array([[0, 200]], np.uint8), np.ones((8, 4), np.uint8))[..., None].repeat(3, 2), 0.5, CHANCE
    )
    assert pixelated.shape == (8, 8, 3) and set(np.unique(pixelated[:, 0])) == {0}


def test_straight_lines_stay_straight_in_perspective():
    y, x = np.indices((64, 64))
    ramp = np.repeat((x * 3 + 20).astype(np.uint8)[..., None], 3, axis=2)
    result = spatial.perspective(ramp, 4, np.random.default_rng(0))[..., 0].astype(float)[8:-8, 8:-8]
    assert np.abs(np.diff(result, 2, axis=1)).max() <= 2  # close to linear still: four corners, no wave


def ramps(side: int) -> np.ndarray:
    """Red rises to the right and green downwards, 3 values a pixel: where pixels come from can be read off them."""
    y, x = np.indices((side, side))
    return np.stack([3 * x + 20, 3 * y + 20, 0 * x], axis=-1).astype(np.uint8)


def read_off(result: np.ndarray) -> np.ndarray:
    """`(2, H, W)`: how far to the right and down of each pixel its value came from."""
    y, x = np.indices(result.shape[:2])
    return np.stack([(result[..., 0] - 20.0) / 3 - x, (result[..., 1] - 20.0) / 3 - y])


def test_an_affine_map_keeps_the_middle_and_moves_a_corner_as_far_as_it_says():
    """Displacements, read off ramps, are linear in the place."""
    y, x = np.indices((65, 65))[:, 8:-8, 8:-8] - 32
    for seed in range(5):
        moved = read_off(spatial.affine(ramps(65), 4, np.random.default_rng(seed)))[:, 8:-8, 8:-8]
        design = np.stack([np.ones(x.size), x.ravel(), y.ravel()], axis=1)
        fitted, *_ = np.linalg.lstsq(design, moved.reshape(2, -1).T, rcond=None)
        assert np.abs(design @ fitted - moved.reshape(2, -1).T).max() < 0.25  # half a value is a sixth of a pixel
        assert np.abs(fitted[0]).max() < 0.05
        corners = [np.hypot(*(np.array([1, 32.5 * i, 32.5 * j]) @ fitted)) for i in (-1, 1) for j in (-1, 1)]
        assert max(corners) == pytest.approx(4, rel=0.05)


def test_a_linear_warp_bends_at_its_points_and_nowhere_else():
    """A row's displacements lie on three lines between points at 0, 21, 42, 63; a cubic warp's do not."""

    def misfit(distort) -> float:
        rows = np.concatenate([read_off(distort(ramps(64), 3, np.random.default_rng(k)))[:2, 32] for k in range(5)])
        parts = [(row[a:b], np.arange(a, b)) for row in rows for a, b in ((8, 22), (21, 43), (42, 56))]
        return max(np.abs(np.polyval(np.polyfit(x, part, 1), x) - part).max() for part, x in parts)

    assert misfit(spatial.linear_warp) < 0.3 < misfit(spatial.warp)


def test_a_chain_has_kinds_of_different_groups_in_any_order():
    chains = [Distorter("chain", kinds=3).drawn(str(seed)) for seed in range(300)]
    assert all(len({KINDS[name].group for name in chain}) == 3 for chain in chains)
    assert {name for chain in chains for name in chain} == set(KINDS)
    orders = Counter(tuple(KINDS[name].group for name in chain[:2]) for chain in chains)
    assert orders["noise", "blur"] and orders["blur", "noise"]
    chain = Distorter("chain", kinds=3)
    assert chain.described(2, "7") == {"level": 2, "kinds": 3, "chain": list(chains[7])}


def test_a_level_can_be_chosen():
    made = configured(
        [
            Entry(name="gaussian-blur"),
            Entry(name="gaussian-blur", settings={"level": 3}, label="blur3"),
            Entry(name="chain", settings={"kinds": 4}),
        ],
        "study.toml",
    )
    assert [d.levels for d in made.values()] == [LEVELS, (3,), LEVELS] and made["chain"].kinds == 4
    assert "scipy" in made["blur3"].library


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Entry(name="gaussian_blur"), ["'gaussian_blur'", "eyetune distort --list"]),
        (Entry(name="white-noise", settings={"level": 6}), ["settings.level = 6", "1 to 5"]),
        (Entry(name="white-noise", settings={"level": True}), ["settings.level = True", "1 to 5"]),
        (Entry(name="white-noise", settings={"level": "3"}), ["settings.level = '3'", "1 to 5"]),
        (Entry(name="white-noise", settings={"kinds": 2}), ["settings.kinds = 2", "no such setting", "level (1 to 5"]),
        (Entry(name="chain", settings={"kinds": 1}), ["settings.kinds = 1", f"2 to {len(GROUPS)}"]),
    ],
)
def test_bad_settings_name_file_key_value_and_what_is_allowed(entry, words):
    with pytest.raises(InputError) as error:
        configured([entry], "study.toml")
    assert all(word in str(error.value) for word in ["study.toml", "codecs[0]", *words])


def test_a_study_of_distortions_and_a_codec(tmp_path, capsys):
    """Distortions have no bits and no target; they are compared at one level, and with themselves at the next."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for k in range(2):
        Image.fromarray(photograph(k, 80)).save(folder / f"{k}.png")
    names = ("gaussian-blur", "shift", "chain")
    values = {
        "name": "study",
        "photographs": {"folder": str(folder), "crop": 48},
        "rates": {"bits_per_pixel": [1.5], "tolerance": 0.2},
        "codecs": [{"name": name} for name in names] + [{"name": "jpeg"}],
        "triplets": {"sentinels": 2, "practice": 1, "across_codecs": 100, "across_rates": 100},
    }
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_settings(parse_settings(values, "test"), tmp_path / name / "study.toml")
        assert main([str(tmp_path / name), "--workers", "1" if name == "first" else "2"]) == 0
    printed = capsys.readouterr().out
    assert "gaussian-blur     level 3" in printed and "jpeg                  1.5" in printed
    study = Study(tmp_path / "first")
    for name in ("stimuli.parquet", "triplets.parquet", "distort.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    stimuli = study.stimuli
    made = stimuli[stimuli["codec"].isin(names)]
    assert len(made) == 2 * 3 * 5
    assert made[["bits", "bits_per_pixel", "target_bits_per_pixel"]].isna().all().all()
    blurred = made[(made["codec"] == "gaussian-blur") & (made["source"] == "0.png")]
    for row in blurred.itertuples():
        level = json.loads(row.settings)["level"]
        whole = Distorter("gaussian-blur").distort(photograph(0, 80), level, "1 0.png")
        crop = whole[row.crop_y : row.crop_y + 48, row.crop_x : row.crop_x + 48]
        assert np.array_equal(study.image(row.sha256), crop)
    chained = made[(made["codec"] == "chain") & (made["source"] == "0.png")]
    assert len({tuple(json.loads(text)["chain"]) for text in chained["settings"]}) == 1
    tests = study.triplets[study.triplets["kind"] == "test"]
    indexed = stimuli.set_index("id")

    def level(identity: str) -> object:
        return json.loads(indexed["settings"][identity]).get("level", "rate")

    across = tests[tests["comparison"] == "codecs"]
    assert len(across) == 2 * 5 * 3 and all(level(row.a) == level(row.b) != "rate" for row in across.itertuples())
    within = tests[tests["comparison"] == "rates"]
    assert len(within) == 2 * 3 * 10
    record = json.loads((study.root / "distort.json").read_text())
    assert record["codecs"]["shift"] == {
        "name": "shift",
        "library": Distorter("shift").library,
        "rate_setting": None,
        "settings": {"levels": ["1", "2", "3", "4", "5"]},
    }
