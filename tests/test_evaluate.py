"""`eyetune codec evaluate`: what is measured is what the files and images say, and it is measured once."""

import base64
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import photograph
from PIL import Image
from shared_data import shared
from test_distortions_learned import LEVELS, checkpoint

from codec import coding
from codec.checkpoint import load_codec
from distortions.classical import CODECS, WebP
from distortions.evaluate import main
from distortions.evaluation import panel, published
from distortions.evaluation.compared import compared
from distortions.evaluation.means import comparable
from distortions.evaluation.photographs import look, photographs
from distortions.evaluation.store import read
from distortions.making import psnr
from metric.exporting.exported import save
from metric.measures import lpips, measure
from metric.network.torchvision_import import import_torchvision
from metric.pairs import to_tensor
from metric.torch_threads import one_thread
from study.errors import InputError
from study.photographs import read as read_photograph

QUICK = ["--lpips", "--workers", "1"]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for k, name in enumerate(("0.png", "more/1.png")):
        Image.fromarray(photograph(k, 176)).save(folder / name)
    return folder


@pytest.fixture
def mine(tmp_path):
    return checkpoint(tmp_path / "mine.safetensors", lambdas=LEVELS)


def evaluate(photos, out, *more):
    """The tables of images and of means."""
    assert main([str(photos), "--out", str(out), *QUICK, *map(str, more)]) == 0
    return pd.read_csv(out / "images.csv"), pd.read_csv(out / "means.csv")


def test_the_numbers_are_those_of_the_files(tmp_path, photos, mine):
    """Bytes of the codecs' own files, PSNR as piq has it, and means of all that over photographs."""
    import_torchvision()
    import piq

    ladders = ["--at", "jpeg=20,60,90", "mine=0,1.5,2"]
    rows, mean = evaluate(photos, tmp_path / "out", "--codec", mine, "--classical", "jpeg", *ladders)
    assert dict(rows.groupby("codec").size()) == {"mine": 6, "jpeg": 6}
    network = load_codec(mine)
    for row in rows.to_dict("records"):
        image = read_photograph(photos / row["photograph"])
        kind, value = row["setting"].split()
        if row["codec"] == "mine":
            assert kind == "position"
            with one_thread():
                data = coding.compress(network, image, float(value))
                decoded = coding.decompress(network, data)
        else:
            assert kind == "quality"
            data = CODECS["jpeg"]().at(int(value)).encode(image)
            decoded = np.array(Image.open(io.BytesIO(data)))
        assert (row["bytes"], row["width"], row["height"]) == (len(data), 176, 176)
        assert row["bits_per_pixel"] == pytest.approx(8 * len(data) / 176**2, rel=1e-5)
        pair = to_tensor([decoded]), to_tensor([image])
        assert row["psnr"] == pytest.approx(float(piq.psnr(*pair, data_range=1.0)), abs=1e-3)
        assert row["ms-ssim"] == pytest.approx(float(piq.multi_scale_ssim(*pair, data_range=1.0)), abs=1e-5)
        assert row["encode_seconds"] > 0 and row["decode_seconds"] > 0
    assert list(mean["codec"]) == ["mine"] * 3 + ["jpeg"] * 3 and set(mean["photographs"]) == {2}
    for row in mean.to_dict("records"):
        part = rows[(rows["codec"] == row["codec"]) & (rows["setting"] == row["setting"])]
        for column in ("bits_per_pixel", "psnr", "ms-ssim", "encode_seconds", "decode_seconds"):
            assert row[column] == pytest.approx(part[column].mean(), rel=1e-4)


def test_webp_on_kodak_is_where_it_was_published():
    """Bits, PSNR and MS-SSIM at quality 50 as CompressAI's means have them (Pillow 7, pytorch-msssim): so the mean is
    the one over images of the measure, not the measure of a mean."""
    known = published.read(shared("anchors/kodak.json")).anchors["webp"]
    images = [read_photograph(path) for path in sorted(shared("photos/kodak").glob("*.png"))]
    webp, ms_ssim = WebP(method=4).at(50), measure("ms-ssim")
    files = [webp.encode(image) for image in images]
    pairs = [(image, webp.decode(data)) for image, data in zip(images, files, strict=True)]
    rates = [8 * len(data) / (image.size / 3) for data, image in zip(files, images, strict=True)]
    distances = [float(ms_ssim.compare(*(to_tensor([image]) for image in pair))) for pair in pairs]
    assert np.mean(rates) == pytest.approx(known.bpp[9], abs=2e-3)
    assert np.mean([psnr(*pair) for pair in pairs]) == pytest.approx(known.psnr[9], abs=0.01)
    assert 1 - np.mean(distances) == pytest.approx(known.ms_ssim[9], abs=2e-4)


def test_a_second_run_measures_nothing_and_other_measures_only_themselves(tmp_path, photos, mine):
    out, path = tmp_path / "out", tmp_path / "mine-metric.safetensors"
    save(lpips("alex"), path, {"name": "studied"})
    codecs = ["--codec", mine, "--classical", "jpeg", "--at", "jpeg=20,60", "mine=0,1"]
    before, _ = evaluate(photos, out, *codecs)
    kept = (out / "results.jsonl").read_bytes()
    again, _ = evaluate(photos, out, *codecs)
    assert (out / "results.jsonl").read_bytes() == kept and again.equals(before)
    more, _ = evaluate(photos, out, *codecs, "--metric", path)
    (name,) = set(more.columns) - set(before.columns)
    assert re.fullmatch("studied:[0-9a-f]{8}", name) and (more[name] > 0).all()
    assert more.drop(columns=name).equals(before)  # the seconds too: they are the first run's
    third, _ = evaluate(photos, out, *codecs, "--lpips", "alex")
    assert np.allclose(third["lpips-alex"], more[name], rtol=1e-4)
    forced, _ = evaluate(photos, out, *codecs, "--force")
    assert not forced["encode_seconds"].equals(before["encode_seconds"])
    assert forced["bytes"].equals(before["bytes"])


def test_an_interrupted_run_goes_on(tmp_path, photos, mine):
    """Killed in the middle of a line: what was written whole is kept, all else is measured."""
    out = tmp_path / "out"
    options = ["--codec", mine, "--classical", "jpeg", "--at", "jpeg=20,60", "mine=0,1"]
    whole, _ = evaluate(photos, out, *options)
    lines = (out / "results.jsonl").read_bytes().splitlines(keepends=True)
    (out / "results.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][: len(lines[3]) // 2])
    resumed, _ = evaluate(photos, out, *options)
    seconds = ["encode_seconds", "decode_seconds"]
    assert resumed.drop(columns=seconds).equals(whole.drop(columns=seconds))
    assert (resumed["encode_seconds"] == whole["encode_seconds"]).sum() == 3
    assert (out / "results.jsonl").read_bytes().startswith(b"".join(lines[:3]))
    assert len(read(out / "results.jsonl")) == len(lines)


def test_other_weights_and_other_photographs_are_measured_anew(tmp_path, photos, mine):
    out = tmp_path / "out"
    options = ["--codec", mine, "--classical", "jpeg", "--at", "jpeg=20", "mine=0"]
    before, _ = evaluate(photos, out, *options)
    checkpoint(mine, seed=5, lambdas=LEVELS)
    Image.fromarray(photograph(7, 176)).save(photos / "0.png")
    after, _ = evaluate(photos, out, *options)
    same = before["encode_seconds"] == after["encode_seconds"]
    assert [(row.codec, row.photograph) for row in after[same].itertuples()] == [("jpeg", "more/1.png")]


def test_what_a_codec_cannot_encode_is_said_and_left_out_of_all_means(tmp_path, photos, capsys):
    """WebP ends at 16383 pixels a side; JPEG does not."""
    Image.fromarray(np.tile(photograph(3, 32), (1, 520, 1))).save(photos / "wide.png")
    rows, mean = evaluate(photos, tmp_path / "out", "--classical", "jpeg", "webp", "--at", "jpeg=50", "webp=50")
    wide = rows[rows["photograph"] == "wide.png"].set_index("codec")
    assert "webp cannot encode 16640 x 32 pixels" in wide.loc["webp", "problem"]
    assert np.isnan(wide.loc["webp", "psnr"]) and wide.loc["jpeg", "psnr"] > 20
    assert "too small" in wide.loc["jpeg", "problem"] and np.isnan(wide.loc["jpeg", "ms-ssim"])  # of 32 pixels
    assert list(mean["photographs"]) == [2, 2]
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "Left out of all means" in page and "webp cannot encode 16640 x 32 pixels" in page
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["left_out"].keys() == {"wide.png"}


def test_a_codec_that_encodes_nothing_leaves_the_others_alone():
    rows = pd.DataFrame(
        [
            {"codec": codec, "photograph": name, "bits_per_pixel": rate, "problem": problem}
            for codec, name, rate, problem in (
                ("a", "1", 1.0, ""), ("a", "2", 1.0, ""), ("b", "1", np.nan, "no"), ("b", "2", np.nan, "no"),
                ("c", "1", 1.0, ""), ("c", "2", np.nan, "too wide"),
            )
        ]
    )  # fmt: skip
    used, failed, unable = comparable(rows)
    assert [(row.codec, row.photograph) for row in used.itertuples()] == [("a", "1"), ("c", "1")]
    assert failed == {"2": "c: too wide"} and unable == {"b": "no"}


def test_images_too_small_for_a_measure_are_left_out_of_it_alone(tmp_path, photos):
    Image.fromarray(photograph(3, 100)).save(photos / "small.png")
    rows, mean = evaluate(photos, tmp_path / "out", "--classical", "jpeg", "--at", "jpeg=50")
    small = rows[rows["photograph"] == "small.png"].iloc[0]
    assert np.isnan(small["ms-ssim"]) and "at least 161 a side" in small["problem"]
    assert mean.loc[0, "photographs"] == 3 and mean.loc[0, "psnr"] == pytest.approx(rows["psnr"].mean(), rel=1e-5)
    assert mean.loc[0, "ms-ssim"] == pytest.approx(rows["ms-ssim"].mean(), rel=1e-5)
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "nothing of 1 of 3 photographs: images of 100 x 100 pixels are too small" in page


def test_the_page_needs_nothing_else_and_labels_are_text(tmp_path, photos, mine):
    out = tmp_path / "out"
    evaluate(photos, out, "--codec", f"{mine}:<b>mine & co", "--classical", "jpeg", "--at", "jpeg=20,50,80")
    page = (out / "evaluation.html").read_text()
    assert "&lt;b&gt;mine &amp; co" in page and "<b>mine & co" not in page
    linked = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert linked and all(link.startswith(("data:image/png;base64,", "#")) for link in linked)
    assert page.count("<svg") == 2 and (out / "rd_psnr.svg").exists() and (out / "rd_ms-ssim.svg").exists()
    assert page.count("data:image/png") == 3  # the original and two codecs
    differences = pd.read_csv(out / "bd.csv")
    assert set(differences["codec"]) == {"<b>mine & co"} and set(differences["reference"]) == {"jpeg"}


@pytest.mark.parametrize("seconds", [90, "long"])
def test_the_page_says_with_which_budget_a_codec_was_trained(tmp_path, photos, seconds):
    record = {"steps_done": 1500, "batch": 8, "crop": 128, "seconds": seconds, "device": "cpu", "photographs": 197}
    record |= {"distortion": {"mse": 1.0, "lpips-vgg": 0.5}, "notice": "Research use only."}
    path = checkpoint(tmp_path / "codec.safetensors", training=record)
    evaluate(photos, tmp_path / "out", "--codec", path, "--classical")
    page = (tmp_path / "out" / "evaluation.html").read_text()
    budget = "Trained for 1,500 steps of 8 crops of 128 pixels in 2 minutes (cpu) on 197 photographs, with mse 1,"
    assert (f"{budget} lpips-vgg 0.5. Research use only." in page) == (seconds == 90)
    assert f"<summary>{tmp_path.name}</summary>" in page  # training calls every file codec.safetensors


def test_the_panel_shows_one_square_at_comparable_bits(tmp_path, photos):
    """The most detailed square is where the noise is; each codec is set so that its whole file has about equal bits."""
    quiet = np.full((320, 400, 3), 90, np.uint8)
    quiet[20:276, 100:356] = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    Image.fromarray(quiet).save(photos / "noise.png")
    given, _ = photographs(photos, 1)
    where = panel.region(given, None)
    assert (where.photograph.source, where.x, where.y, where.side) == ("noise.png", 100, 20, 256)
    asked = panel.region(given, ["0.png", "10", "20", "100"])
    assert (asked.photograph.source, asked.x, asked.y, asked.side) == ("0.png", 10, 20, 100)
    out = tmp_path / "out"
    evaluate(
        photos, out, "--classical", "jpeg", "webp", "--crop", "0.png", 10, 20, 100, "--at", "jpeg=10,90", "webp=10,90"
    )
    crops = [result for result in read(out / "results.jsonl").values() if result.png]
    assert len(crops) == 2 and max(found.bits for found in crops) / min(found.bits for found in crops) < 1.05
    page = (out / "evaluation.html").read_text()
    assert all(f"data:image/png;base64,{found.png}" in page for found in crops)
    shown = {np.array(Image.open(io.BytesIO(base64.b64decode(found.png)))).shape for found in crops}
    assert shown == {(100, 100, 3)}


def test_what_is_printed_of_codecs_side_by_side_is_what_their_files_say(tmp_path, photos, mine, capsys):
    """Bits per pixel, PSNR, MS-SSIM: in the order of the header, also where a title is longer than it."""
    evaluate(photos / "0.png", tmp_path / "out", "--codec", f"{mine}:a long name", "--classical", "jpeg")
    crops = [result for result in read(tmp_path / "out/results.jsonl").values() if result.png]
    header, *lines = capsys.readouterr().out.split("0.png, each at the setting nearest to ")[1].splitlines()[1:4]
    assert header.split() == ["bits", "per", "pixel", "PSNR", "MS-SSIM"]
    assert {line[:13].strip() for line in lines} == {"a long name", "jpeg"}
    expected = {
        (f"{one.bits / 176**2:.3f}", f"{one.values['psnr']:.2f}", f"{one.values['ms-ssim']:.4f}") for one in crops
    }
    assert {tuple(line[13:].split()) for line in lines} == expected
    assert {len(line) for line in lines} == {len(header)}


def test_published_curves_of_other_photographs_are_drawn_with_a_caution_and_not_compared(tmp_path, photos):
    path = tmp_path / "anchors.json"
    curves = {"vtm": {"bpp": [0.1, 0.5, 1.0], "psnr": [28, 33, 36], "source": "a paper"}}
    path.write_text(json.dumps({"dataset": "Kodak 24", "anchors": curves}))
    options = ["--classical", "jpeg", "--at", "jpeg=20,50,80", "--anchors", path]
    evaluate(photos, tmp_path / "out", *options)
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "means over Kodak 24; here are 2 other photographs. They are not comparable." in page
    assert "<b>vtm (published)</b>: a paper" in page and "Dashed: published" in page
    assert pd.read_csv(tmp_path / "out" / "bd.csv").empty
    with pytest.raises(InputError, match="--reference vtm: the published curves are means over Kodak 24"):
        evaluate(photos, tmp_path / "out", *options, "--reference", "vtm")


def test_published_curves_of_these_photographs_are_compared():
    """Half the bits of JPEG is -50 %, a quarter is -75 %; a published curve can be the reference, too."""
    rows = [
        {"codec": codec, "point": k, "photograph": "p", "psnr": value, "bits_per_pixel": rate}
        for codec, factor in (("jpeg", 2.0), ("mine", 1.0))
        for k, (rate, value) in enumerate(((0.1 * factor, 28.0), (0.5 * factor, 33.0), (1.0 * factor, 36.0)))
    ]
    curves = {"vtm": {"bpp": [0.05, 0.25, 0.5], "psnr": [28, 33, 36]}}
    anchors = published.Anchors.model_validate({"dataset": "Kodak 24", "anchors": curves})
    (found,) = compared(pd.DataFrame(rows), ["psnr"], {}, "jpeg", anchors, ["vtm"], comparable=True)
    assert {title: round(one.rate, 6) for title, one in found.differences.items()} == {
        "mine": -50.0,
        "vtm (published)": -75.0,
    }
    (found,) = compared(pd.DataFrame(rows), ["psnr"], {}, "vtm (published)", anchors, ["vtm"], comparable=True)
    assert found.reference == "vtm (published)" and round(found.differences["jpeg"].rate, 6) == 300.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--codec", "none.safetensors"], ["none.safetensors is missing"]),
        (["--codec", "mine.safetensors:"], ["mine.safetensors:", "FILE:LABEL"]),
        (["--codec", "mine.safetensors:jpeg"], ["called jpeg", "add :LABEL"]),
        (["--codec", "mine.safetensors", "mine.safetensors"], ["another codec is called mine", ":LABEL"]),
        (["--codec", "mine.safetensors:a", "mine.safetensors:a"], ["reaches many rates by itself"]),
        (["--codec", "photos/0.png"], ["0.png: not a codec"]),
        (["--classical", "jpg"], ["--classical jpg", "jpeg2000"]),
        (["--classical"], ["no codec; name one"]),
        (["--at", "jpeg=20,x"], ["--at jpeg=20,x: expected NAME=V"]),
        (["--at", "jpeg=20.5"], ["quality 20.5: must be whole numbers from 1 to 100"]),
        (["--at", "webp=101"], ["quality 101: must be from 0 to 100"]),
        (["--at", "mine=1"], ["no codec 'mine' here", "jpeg, webp, avif"]),
        (["--codec", "mine.safetensors", "--at", "mine=2.5"], ["position 2.5: must be from 0 to 2"]),
        (["--metric", "no-such"], ["unknown metric 'no-such'"]),
        (["--metric", "mine.safetensors"], ["mine.safetensors: not a metric"]),
        (["--metric", "ms-ssim", "photos/0.png"], ["unknown metric"]),
        (["--published", "vtm"], ["--anchors FILE"]),
        (["--anchors", "none.json"], ["none.json: no such file"]),
        (["--reference", "vtm"], ["--reference vtm: no such curve; there are: jpeg, webp, avif"]),
        (["--crop", "9.png", "0", "0", "64"], ["--crop 9.png: no such photograph", "0.png"]),
        (["--crop", "0.png", "0", "0", "177"], ["not within 0.png, which has 176 x 176 pixels"]),
        (["--crop", "0.png", "0", "a", "64"], ["whole numbers of pixels"]),
        (["--out", "photos/0.png"], ["a file, not a folder"]),
        (["--workers", "0"], ["--workers 0"]),
    ],
)
def test_bad_input_is_one_line_before_any_work(tmp_path, photos, mine, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        main(["photos", "--out", "out", *QUICK, *options])
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("none", ["no such folder or file"]),
        ("empty", ["no photographs in it"]),
        ("mine.safetensors", ["no photograph can be used", "not an image"]),
    ],
)
def test_bad_photographs_are_one_line(tmp_path, photos, mine, monkeypatch, place, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as error:
        main([place, "--out", "out", *QUICK])
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in [place, *words])


def test_photographs_that_are_not_used_have_their_reasons(photos):
    (photos / "text.png").write_text("not one")
    Image.open(photos / "0.png").save(photos / "copy.bmp")
    (photos / "gone.png").symlink_to(photos / "nowhere.png")
    used, skipped = photographs(photos, 1)
    assert [photograph.source for photograph in used] == ["0.png", "more/1.png"]
    assert skipped == {
        "copy.bmp": "the same picture as 0.png",
        "gone.png": "not a regular file, or a link to nothing",
        "text.png": "not an image that can be read",
    }
    assert look(used[0]) == used[0]
