"""What a study asks of its observers: its conditions, its crops, and which conditions each comparison compares."""

import math
from typing import NamedTuple

from analysis.preferences import codec_order
from analysis.scaling import NO_CONDITION, name_conditions
from study.design.conditions import REFERENCE, condition_of, step_of
from study.errors import InputError
from study.folder import Study
from study.records import Stimulus
from study.tables import records


class Asked(NamedTuple):
    """Comparisons, and how many votes each gets."""

    comparisons: int
    """Test triplets of all crops."""
    pairs: list[tuple[str, str]]
    """The two conditions of each comparison that has two different ones."""
    votes_each: int
    against_reference: list[str]
    """The condition of each comparison with the reference itself."""

    @property
    def votes(self) -> int:
        """In all."""
        return self.comparisons * self.votes_each


def conditions_of(study: Study) -> list[str]:
    """The conditions that test triplets can compare, by codec as study.toml lists them, then by rate.

    Raises InputError where none is known: an import need not tell its codecs.
    """
    order = {codec: place for place, codec in enumerate(codec_order([c.title for c in study.settings.codecs],
                                                                    study.stimuli))}  # fmt: skip
    ranked = {
        condition_of(s): (order[s.codec], s.target_bits_per_pixel or math.inf, condition_of(s))
        for stimuli in crops_of(study)
        for s in stimuli
        if s.codec != REFERENCE
    }
    if not ranked:
        raise InputError(f"{study.stimuli_path}: no stimulus's codec is known, so there are no conditions to plan for")
    return sorted(ranked, key=ranked.__getitem__)


def crops_of(study: Study) -> list[list[Stimulus]]:
    """The stimuli of each crop that test triplets compare or could, the reference first.

    A codec at its poorest setting, made for sentinels and practice, is none of them.
    """
    triplets = study.triplets
    tests = triplets["kind"] == "test"
    compared = {*triplets.loc[tests, "a"], *triplets.loc[tests, "b"]}
    crops: dict[tuple[str, int, int], list[Stimulus]] = {}
    for stimulus in records(study.stimuli, Stimulus):
        floor = stimulus.bits is not None and step_of(stimulus) is None and stimulus.id not in compared
        if stimulus.codec == REFERENCE or not (floor or stimulus.codec in NO_CONDITION):
            crops.setdefault((stimulus.source, stimulus.crop_x, stimulus.crop_y), []).append(stimulus)
    return list(crops.values())


def asked_now(study: Study) -> Asked:
    """The study's test triplets as they are. Raises InputError where there are none."""
    tests = study.triplets[study.triplets["kind"] == "test"]
    if tests.empty:
        raise InputError(f"{study.triplets_path}: no test triplets; make some with: eyetune distort {study.root}")
    names = name_conditions(study.stimuli)
    both = list(zip(names.reindex(tests["a"]), names.reindex(tests["b"]), strict=True))
    pairs = [(str(a), str(b)) for a, b in both if a is not None and b is not None and a != b]
    with_reference = (tests["a"] == tests["reference"]) | (tests["b"] == tests["reference"])
    rungs = [str(a or b) for (a, b), itself in zip(both, with_reference, strict=True) if itself and (a or b)]
    return Asked(len(tests), pairs, study.settings.session.votes_per_triplet, rungs)
