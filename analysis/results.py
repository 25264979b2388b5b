"""Everything that is known from the votes of a study, as tables and estimates."""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.agreement import Estimate
from analysis.ceiling import ceilings
from analysis.observers import observer_table, repeat_pairs, sides_known, with_triplets
from analysis.preferences import codec_order, codec_preferences, told_from_reference, triplet_table
from analysis.proportions import exact_half, share
from analysis.scaling import scale
from study.folder import Study, Voters, whose


@dataclass(frozen=True)
class Results:
    """What the report shows. Tables are written as CSV as they are."""

    sentence: str
    """Whose votes these are."""
    voters: str
    """human, simulated or mixed: stands on everything that is shown."""
    simulators: list[str]
    """The models of the simulated observers, most frequent first."""
    counts: dict[str, int]
    triplets: pd.DataFrame
    observers: pd.DataFrame
    preferences: pd.DataFrame
    against_reference: pd.DataFrame
    """Empty but for a study of just noticeable differences."""
    conditions: pd.DataFrame
    codecs: pd.DataFrame
    condition_cautions: list[str]
    codec_cautions: list[str]
    sentinels: Estimate
    repeats: Estimate
    left: Estimate
    left_p: float
    ceilings: dict[str, Estimate]
    """`agreement`, `plug_in`, `majority`."""


def results(study: Study, voters: Voters, seed: int) -> Results:
    """The results of the votes of `voters`; what depends on chance (intervals) follows from `seed`.

    Sentinels, repeats and sides are over all observers; votes per triplet, agreement, preferences and scores leave out
    the votes of excluded observers.
    """
    judgments, sentence = study.judgments(voters)
    votes = with_triplets(judgments, study.triplets)
    observers = observer_table(judgments, study.triplets)
    excluded = observers.loc[observers["excluded"], "observer"]
    used = judgments[~judgments["observer"].isin(excluded)]
    order = codec_order([codec.title for codec in study.settings.codecs], study.stimuli)
    triplets = triplet_table(used, study.triplets, study.stimuli)
    conditions, condition_cautions = scale(used, study.triplets, study.stimuli, order, "conditions", seed)
    codecs, codec_cautions = scale(used, study.triplets, study.stimuli, order, "codecs", seed)
    test, sentinels = votes[votes["kind"] == "test"], votes[votes["kind"] == "sentinel"]
    repeats = repeat_pairs(votes)
    shown = sides_known(test)
    left, left_p = exact_half(int((shown["side"] == "left").sum()), len(shown))
    return Results(
        sentence=sentence,
        voters=whose(judgments),
        simulators=simulator_models(judgments),
        counts=_counts(study, votes, used, observers, triplets),
        triplets=triplets,
        observers=observers,
        preferences=codec_preferences(triplets, order),
        against_reference=told_from_reference(triplets, order),
        conditions=conditions,
        codecs=codecs,
        condition_cautions=condition_cautions,
        codec_cautions=codec_cautions,
        sentinels=share(int((sentinels["chosen"] == sentinels["expected"]).sum()), len(sentinels)),
        repeats=share(int(repeats["consistent"].sum()), len(repeats)),
        left=left,
        left_p=left_p,
        ceilings=_ceilings(triplets, seed),
    )


def summary(found: Results) -> pd.DataFrame:
    """The long table `measure, value, low, high, n`; NaN where there is none."""
    rows: list[tuple[str, float, float, float, float]] = []
    rows += [(name, value, np.nan, np.nan, np.nan) for name, value in found.counts.items()]
    estimates = {
        "sentinels_right": found.sentinels,
        "repeats_consistent": found.repeats,
        "left_share": found.left,
        "human_agreement_unbiased": found.ceilings["agreement"],
        "human_agreement_plug_in": found.ceilings["plug_in"],
        "majority_oracle": found.ceilings["majority"],
    }
    rows += [(name, *estimate) for name, estimate in estimates.items()]
    rows.append(("left_share_p", found.left_p, np.nan, np.nan, found.left.n))
    seconds = found.observers["median_seconds"].dropna()
    if len(seconds):
        rows.append(("median_seconds", float(seconds.median()), np.nan, np.nan, len(seconds)))
    return pd.DataFrame(rows, columns=["measure", "value", "low", "high", "n"])


def simulator_models(judgments: pd.DataFrame) -> list[str]:
    """The simulated observers' models in words, most frequent first; equal but for numbers are one, with ranges."""
    simulated = judgments[judgments["simulated"].astype(bool)].drop_duplicates("observer")
    alike: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for model in map(_model, simulated["simulator"]):
        alike[str({key: value for key, value in model.items() if not _is_number(value)})].append(model)
    return [
        f"{', '.join(_in_words(key, [model.get(key) for model in models]) for key in models[0] if key != 'observer')}"
        f" ({len(models):,} {'observer' if len(models) == 1 else 'observers'})"
        for models in sorted(alike.values(), key=len, reverse=True)
    ]


def _model(text: object) -> dict[str, Any]:
    if not isinstance(text, str):
        return {"model": "not recorded"}
    try:
        model = json.loads(text)
    except json.JSONDecodeError:
        model = text
    return model if isinstance(model, dict) else {"model": model}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _in_words(key: str, values: list[Any]) -> str:
    name = key.replace("_", " ")
    numbers = [value for value in values if _is_number(value)]
    if not numbers:
        return f"{name} {values[0]}"
    low, high = f"{min(numbers):.3g}", f"{max(numbers):.3g}"
    return f"{name} {low}" if low == high else f"{name} {low} to {high}"


def _counts(
    study: Study, votes: pd.DataFrame, used: pd.DataFrame, observers: pd.DataFrame, triplets: pd.DataFrame
) -> dict[str, int]:
    test = votes[votes["kind"] == "test"]
    simulated = int(votes["simulated"].astype(bool).sum())
    return {
        "votes": len(votes),
        "votes_human": len(votes) - simulated,
        "votes_simulated": simulated,
        "votes_test": len(test),
        "votes_test_used": int(test["observer"].isin(used["observer"]).sum()),
        "votes_sentinel": int((votes["kind"] == "sentinel").sum()),
        "votes_repeat": int((votes["kind"] == "repeat").sum()),
        "observers": len(observers),
        "observers_excluded": int(observers["excluded"].sum()),
        "observers_side_flagged": int(observers["side_flag"].sum()),
        "triplets_test": int((study.triplets["kind"] == "test").sum()),
        "triplets_voted": len(triplets),
        "photographs": int(triplets["source"].nunique()),
    }


def _ceilings(triplets: pd.DataFrame, seed: int) -> dict[str, Estimate]:
    if triplets.empty:
        return dict.fromkeys(("agreement", "plug_in", "majority"), Estimate(np.nan, np.nan, np.nan, 0))
    return ceilings(triplets["votes"], triplets["prefer_b"], triplets["source"], seed)
