"""Reports of studies that lack something: each says why a section is missing, and none fails."""

import numpy as np
import pandas as pd
import pytest
from test_analysis_report import gather, judge, keep_triplets, page, store

from analysis.analyze import main
from study.bapps import export_bapps, import_bapps
from study.folder import Study


def test_a_bapps_import_has_a_report_without_codecs(make_study, tmp_path):
    study = make_study()
    store(study, gather(study))
    export_bapps(study, tmp_path / "bapps")
    import_bapps(tmp_path / "bapps", tmp_path / "imported")
    imported = Study(tmp_path / "imported")
    main([str(imported.root)])
    text = page(imported)
    assert "No vote compares two known conditions" in text and "do not say which codecs made them" in text
    assert "do not say on which sides" in text
    assert "Nobody was shown a sentinel" in text and "Nobody was shown a repeat" in text
    assert not (imported.report_folder / "rate_quality.svg").exists()
    summaries = [
        pd.read_csv(folder / "summary.csv").set_index("measure")
        for folder in (imported.report_folder, _analyzed(study).report_folder)
    ]
    assert summaries[0].loc["human_agreement_unbiased", "value"] == pytest.approx(
        summaries[1].loc["human_agreement_unbiased", "value"]
    )


def _analyzed(study: Study) -> Study:
    main([str(study.root)])
    return study


def test_votes_on_sentinels_only_have_a_report_that_says_so(make_study):
    study = make_study()
    store(study, gather(study, kinds=("sentinel",)))
    main([str(study.root)])
    assert "No test triplet has a vote" in page(study)
    assert pd.read_csv(study.report_folder / "triplets.csv").empty


def test_a_report_where_everybody_is_excluded(make_study):
    study = make_study()
    store(study, gather(study, observers=2, lazy=(0, 1)))
    main([str(study.root)])
    assert "2 of 2 observers are left out" in page(study)


def test_one_observer_has_scores_without_intervals(make_study):
    study = make_study()
    store(study, gather(study, observers=1))
    main([str(study.root)])
    text = page(study)
    assert "Only one observer voted" in text and "No triplet has two votes" in text


def test_a_photograph_alone_has_no_interval_of_agreement(make_study):
    study = make_study(photographs=1)
    store(study, gather(study))
    main([str(study.root)])
    assert "all votes are about one photograph" in page(study)


def test_one_codec_at_several_rates_has_scores_but_no_preferences(make_study):
    study = make_study()
    jpeg = set(study.stimuli.loc[study.stimuli["codec"] == "jpeg", "id"])
    study = keep_triplets(study, lambda table: (table["comparison"] == "rates") & table["a"].isin(jpeg))
    store(study, gather(study))
    main([str(study.root)])
    assert "No vote compares two codecs at the same rate" in page(study)
    scores = pd.read_csv(study.report_folder / "bradley_terry.csv")
    assert scores["codec"].unique().tolist() == ["jpeg"] and scores["score"].is_monotonic_increasing


def test_rates_that_were_never_compared_are_separate_groups(make_study):
    study = make_study()
    study = keep_triplets(study, lambda table: (table["comparison"] == "codecs") & (table["kind"] == "test"))
    store(study, gather(study))
    main([str(study.root)])
    assert "fall into 3 groups that were never compared" in page(study)
    scores = pd.read_csv(study.report_folder / "bradley_terry.csv")
    assert scores.loc[scores["scale"] == "conditions", "group"].nunique() == 3


def test_unanimous_votes_are_said_to_be(make_study):
    study = make_study()
    votes = gather(study, observers=3)
    known = study.stimuli.set_index("id")
    pairs = study.triplets.set_index("id")

    def better(vote):
        row = pairs.loc[vote.triplet]
        ranks = {end: (known["bits_per_pixel"].fillna(9)[end], known["codec"][end]) for end in (row["a"], row["b"])}
        return max(ranks, key=lambda end: ranks[end])

    store(study, [judge(v.triplet, v.observer, better(v), v.side, v.position) for v in votes])
    main([str(study.root)])
    assert "One-sided votes" in page(study) and "trust their order" in page(study)
    scores = pd.read_csv(study.report_folder / "bradley_terry.csv")
    assert np.isfinite(scores["score"]).all() and scores["one_sided"].all()
