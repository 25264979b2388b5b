import html.parser
import json
import re

import numpy as np
import pandas as pd
import pytest

from analysis.analyze import main
from analysis.preferences import codec_preferences, triplet_table
from analysis.report import inline, number, p_value, percent
from analysis.results import simulator_models
from study import tables
from study.command import run
from study.errors import InputError
from study.folder import Study
from study.records import Judgment, Stimulus, Triplet
from study.settings import parse_settings, write_settings

TABLES = ("triplets.csv", "observers.csv", "preferences.csv", "bradley_terry.csv", "summary.csv")
SIMULATOR = json.dumps({"metric": "dists", "noise": 0.4})


def judge(triplet, observer, chosen, side, position=0, simulated=False) -> Judgment:
    return Judgment(
        id=f"{observer}-{triplet}", triplet=triplet, observer=observer, chosen=chosen, side=side, position=position,
        protocol="side-by-side", shown_at="2026-01-01T00:00:00.000Z", loaded_at="2026-01-01T00:00:01.000Z",
        answered_at="2026-01-01T00:00:03.500Z", received_at="2026-01-01T00:00:04.000Z", flips=0, zoom=1.0,
        screen_width=1200, screen_height=800, pixel_ratio=1.0, simulated=simulated,
        simulator=SIMULATOR if simulated else None, rejected=None,
    )  # fmt: skip


def gather(study: Study, observers=8, kinds=("test", "sentinel", "repeat"), simulated=False, seed=1, lazy=()):
    """Votes of observers who mostly prefer more bits and webp; `lazy` ones always take the left."""
    random = np.random.default_rng(seed)
    known = study.stimuli.set_index("id")
    quality = known["bits_per_pixel"].fillna(9).astype(float) + 0.2 * (known["codec"] == "webp")
    votes = []
    for o in range(observers):
        name = f"{'robot' if simulated else 'person'}{o}"
        shown = study.triplets[study.triplets["kind"].isin(kinds)].itertuples()
        for position, row in enumerate(shown):
            a_is_left = random.random() < 0.5
            takes_a = random.random() < 1 / (1 + np.exp(3 * (quality[row.b] - quality[row.a])))
            takes_a = a_is_left if o in lazy else takes_a or row.expected == row.a
            side = "left" if takes_a == a_is_left else "right"
            votes.append(judge(row.id, name, row.a if takes_a else row.b, side, position, simulated))
    return votes


def store(study: Study, votes) -> None:
    tables.write(tables.frame(votes, Judgment), study.judgments_path, Judgment)


def keep_triplets(study: Study, keep) -> Study:
    table = study.triplets
    tables.write(table[keep(table)], study.triplets_path, Triplet)
    return Study(study.root)


def page(study: Study) -> str:
    return (study.report_folder / "report.html").read_text(encoding="utf-8")


def test_a_study_becomes_a_report(make_study, capsys):
    study = make_study()
    store(study, gather(study))
    assert main([str(study.root)]) == 0
    made = {path.name for path in study.report_folder.iterdir()}
    figures = {"rate_quality.svg", "preferences.svg", "observers.svg", "left_share.svg"}
    assert made == {"report.html", *TABLES, *figures}
    observers = pd.read_csv(study.report_folder / "observers.csv", keep_default_na=False)
    assert observers.columns[:5].tolist() == ["observer", "votes", "reliability", "excluded", "reason"]
    assert len(observers) == 8 and not observers["excluded"].any()
    summary = pd.read_csv(study.report_folder / "summary.csv").set_index("measure")
    assert summary.columns[:4].tolist() == ["value", "low", "high", "n"]
    assert summary.loc["votes", "value"] == 8 * 25 and summary.loc["median_seconds", "value"] == 2.5
    scores = pd.read_csv(study.report_folder / "bradley_terry.csv")
    assert scores["scale"].value_counts().to_dict() == {"conditions": 6, "codecs": 2}
    assert scores.groupby("scale")["score"].sum().abs().max() < 1e-4
    conditions = scores[scores["scale"] == "conditions"].set_index("condition")
    assert conditions.loc["webp @ 1", "score"] > conditions.loc["jpeg @ 0.25", "high"]
    printed = capsys.readouterr().out
    for word in (
        "200 human votes",
        "sentinels:",
        "repeats:",
        "left side:",
        ", p ",
        "agreement:",
        "best:",
        "report.html",
    ):
        assert word in printed


class Links(html.parser.HTMLParser):
    """What a page asks a browser to load, and its ids."""

    def __init__(self):
        super().__init__()
        self.loads, self.ids, self.labels = [], [], []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                self.loads.append(value)
            self.ids += [value] if name == "id" else []
            self.labels += [value] if name == "aria-label" else []
        assert tag not in ("script", "link", "iframe", "object", "embed")


def test_the_page_asks_for_nothing_and_its_figures_are_described(make_study):
    study = make_study()
    store(study, gather(study))
    main([str(study.root)])
    text = page(study)
    links = Links()
    links.feed(text)
    assert all(link.startswith("#") for link in links.loads)
    assert set(link[1:] for link in links.loads) <= set(links.ids)
    assert len(links.ids) == len(set(links.ids))
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= {f"#{name}" for name in links.ids}
    assert "@import" not in text and len(links.labels) == 4 and all(len(label) > 40 for label in links.labels)


@pytest.mark.parametrize(("voters", "words"), [("simulated", "SIMULATED votes."), ("all", "SIMULATED votes are mixed")])
def test_simulated_votes_are_marked_on_everything(make_study, capsys, voters, words):
    study = make_study()
    store(study, gather(study, simulated=True) + gather(study, observers=2))
    main([str(study.root), "--voters", voters])
    text = page(study)
    assert words in text and "metric dists, noise 0.4 (8 observers)" in text and "SIMULATED" in capsys.readouterr().out
    assert re.search("<title>.*SIMULATED", text)
    mark = "simulated" if voters == "simulated" else "mixed"
    for name in TABLES:
        assert set(pd.read_csv(study.report_folder / name)["voters"]) == {mark}
    for figure in study.report_folder.glob("*.svg"):
        assert "SIMULATED votes" in figure.read_text()


def test_human_votes_are_taken_by_themselves_and_bear_no_mark(make_study):
    study = make_study()
    store(study, gather(study, simulated=True) + gather(study, observers=3))
    main([str(study.root)])
    assert "SIMULATED" not in page(study) and "200 simulated votes left out" in page(study)
    assert all("SIMULATED" not in path.read_text() for path in study.report_folder.glob("*.svg"))
    assert len(pd.read_csv(study.report_folder / "observers.csv")) == 3


def test_the_same_votes_and_seed_give_the_same_files(make_study):
    study = make_study()
    store(study, gather(study))

    def files(seed):
        main([str(study.root), "--seed", str(seed)])
        return {path.name: path.read_bytes() for path in study.report_folder.iterdir() if path.name != "report.html"}

    first = files(1)
    assert files(1) == first
    assert files(2)["bradley_terry.csv"] != first["bradley_terry.csv"]


def test_excluded_observers_are_left_out_and_their_votes_stay(make_study):
    study = make_study()
    votes = gather(study, observers=6, lazy=(0,))
    store(study, votes)
    before = study.judgments_path.read_bytes()
    main([str(study.root)])
    assert study.judgments_path.read_bytes() == before
    observers = pd.read_csv(study.report_folder / "observers.csv")
    assert observers.loc[observers["excluded"], "observer"].tolist() == ["person0"]
    with_lazy = {name: (study.report_folder / name).read_text() for name in ("preferences.csv", "bradley_terry.csv")}
    store(study, [vote for vote in votes if vote.observer != "person0"])
    main([str(study.root)])
    assert with_lazy == {name: (study.report_folder / name).read_text() for name in with_lazy}
    assert "left out" in page(study)


def test_preferences_by_hand(make_study):
    """jpeg against webp at three rates of one photograph, in both orders of a and b: 2:1, 0:3 and 1:2 for jpeg."""
    study = keep_triplets(make_study(photographs=1), lambda table: table["comparison"] == "codecs")
    table = study.triplets[study.triplets["kind"] == "test"].reset_index(drop=True)
    table.loc[1, ["a", "b"]] = table.loc[1, ["b", "a"]].to_numpy()  # the second has webp as a
    codec = study.stimuli.set_index("id")["codec"]
    votes = []
    for row, jpeg_votes in zip(table.itertuples(), (2, 0, 1), strict=True):
        for o in range(3):
            wanted = "jpeg" if o < jpeg_votes else "webp"
            chosen = row.a if codec[row.a] == wanted else row.b
            votes.append(judge(row.id, f"o{o}", chosen, "left"))
    voted = triplet_table(tables.frame(votes, Judgment), table, study.stimuli)
    assert voted["prefer_b"].tolist() == [1, 0, 2] and voted["codec_a"].tolist() == ["jpeg", "webp", "jpeg"]
    found = codec_preferences(voted, ["jpeg", "webp"])
    assert found["target_bits_per_pixel"].tolist()[:3] == [0.25, 0.5, 1.0] and np.isnan(found.iloc[3, 2])
    assert found["wins"].tolist() == [2, 0, 1, 3] and found["votes"].tolist() == [3, 3, 3, 9]
    assert found["triplets"].tolist() == [1, 1, 1, 3] and found.iloc[3]["share"] == pytest.approx(1 / 3)
    turned = codec_preferences(voted, ["webp", "jpeg"])
    assert turned["wins"].tolist() == [1, 3, 2, 6] and turned["codec"].tolist() == ["webp"] * 4


def test_distortions_alone_are_compared_at_equal_levels(make_study, capsys):
    """Their stimuli have no rates, so neither the line nor the page speaks of any."""
    study = make_study()
    store(study, gather(study))
    assert main([str(study.root)]) == 0 and " at equal rates, score" in capsys.readouterr().out
    assert "Codecs at equal rates</h2>" in page(study)
    table = study.stimuli
    table["settings"] = [json.dumps({"level": 1 + k}) for k in range(len(table))]
    table[["target_bits_per_pixel", "bits", "bits_per_pixel"]] = None
    tables.write(table, study.stimuli_path, Stimulus)
    assert main([str(study.root)]) == 0 and " at equal levels, score" in capsys.readouterr().out
    assert "Codecs at equal levels</h2>" in page(study)


def test_names_are_escaped(make_study):
    study = make_study()
    nasty = "<script>alert(1)</script>"
    values = study.settings.model_dump(exclude_none=True) | {"name": nasty}
    write_settings(parse_settings(values, "test"), study.settings_path)
    votes = gather(study, observers=2)
    store(study, votes + [judge(votes[0].triplet, nasty, votes[0].chosen, "left")])
    main([str(study.root)])
    assert nasty not in page(study) and "&lt;script&gt;" in page(study)


def test_an_old_figure_does_not_stay_beside_a_new_report(make_study):
    study = make_study()
    store(study, gather(study))
    main([str(study.root)])
    store(study, gather(study, kinds=("sentinel",)))
    main([str(study.root)])
    assert not list(study.report_folder.glob("*.svg"))


def test_simulators_that_differ_in_numbers_only_are_one_line():
    models = [{"metric": "dists", "observer": o, "noise": 0.1 * (o + 1), "scale": 2.0} for o in range(3)]
    texts = [*map(json.dumps, models), json.dumps({"metric": "psnr", "noise": 1}), "by hand", None, "7"]
    votes = [{"observer": f"o{k}", "simulated": True, "simulator": text} for k, text in enumerate(texts)]
    votes.append({"observer": "person", "simulated": False, "simulator": None})
    assert simulator_models(pd.DataFrame(votes)) == [
        "metric dists, noise 0.1 to 0.3, scale 2 (3 observers)",
        "metric psnr, noise 1 (1 observer)",
        "model by hand (1 observer)",
        "model not recorded (1 observer)",
        "model 7 (1 observer)",
    ]


def test_no_votes_and_no_study_are_one_clear_line(make_study, tmp_path, capsys):
    study = make_study()
    with pytest.raises(InputError, match="no votes yet; gather them with: eyetune serve"):
        main([str(study.root)])
    store(study, gather(study, observers=1))
    with pytest.raises(InputError, match="no simulated votes"):
        main([str(study.root), "--voters", "simulated"])
    with pytest.raises(InputError, match="--seed -1"):
        main([str(study.root), "--seed", "-1"])
    assert run(main, [str(tmp_path / "absent")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_numbers_are_set_as_in_print():
    assert [number(value) for value in (1234.5, -0.126, -0.001, float("nan"), None)] == [
        "1,234.50", "−0.13", "0.00", "–", "–",
    ]  # fmt: skip
    assert percent(0.1234) == "12.3 %" and percent(float("nan")) == "–"
    assert [p_value(value) for value in (0.0001, 0.03, 1.0, float("nan"))] == ["< .001", "= .030", "= 1.000", ""]


def test_an_inlined_figure_keeps_its_links():
    svg = '<?xml version="1.0"?><svg width="9pt" height="9pt" viewBox="0 0 9 9"><g id="x"/>'
    svg += '<use href="#x" clip-path="url(#x)"/></svg>'
    assert inline(svg, "f") == (
        '<svg aria-hidden="true" focusable="false" viewBox="0 0 9 9"><g id="f-x"/>'
        '<use href="#f-x" clip-path="url(#f-x)"/></svg>'
    )
