"""The `eyetune` console command: names a verb and imports its module only when it is called."""

import importlib
import sys

from study.command import run
from study.errors import InputError

VERBS = {  # verb: (module whose main(argv) does it, what it does)
    "demo": ("eyetune_demo", "the whole loop on one machine in minutes, on photographs that packages ship"),
    "new": ("study.new", "a study with its settings written out"),
    "distort": ("distortions.distort", "stimuli and triplets from the study's photographs and codecs"),
    "plan": ("analysis.plan", "how many votes, how much money, what power"),
    "serve": ("webapp.serve", "the blind A/B page, on SQLite"),
    "recruit": ("mturk.recruit", "other ways in than MTurk: personal links, Prolific"),
    "simulate": ("webapp.simulate", "simulated observers through the real page, marked as such for ever"),
    "votes": ("webapp.votes", "export the votes"),
    "analyze": ("analysis.analyze", "the votes as a report, tables and figures"),
    "train": ("metric.train", "fit a perceptual metric to the votes"),
    "score": ("metric.score", "what metrics say of each triplet, and how often observers agree"),
    "export": ("metric.export", "hand out a trained metric"),
}

CODEC_VERBS = {  # of `eyetune codec`
    "train": ("codec.train", "train a learned codec on photographs, with any mix of losses and learned metrics"),
    "compress": ("codec.compress", "photographs as .eyt files"),
    "decompress": ("codec.decompress", ".eyt files as PNG"),
    "evaluate": ("distortions.evaluate", "rate-distortion of codecs, from real bytes, beside JPEG, WebP and AVIF"),
    "list": ("codec.listing", "which codecs can be trained; what a codec's file, or an .eyt file, holds"),
}

MTURK_VERBS = {  # of `eyetune mturk`
    "cost": ("mturk.cost", "what the study's HITs cost, to the cent"),
    "publish": ("mturk.publish", "create the HITs, each exactly once"),
    "status": ("mturk.status", "HITs, submissions and money"),
    "collect": ("mturk.collect", "fetch what workers submitted"),
    "review": ("mturk.review", "a plan of whom to pay and whose votes to use, to read and edit"),
    "pay": ("mturk.pay", "carry the plan out"),
    "bonus": ("mturk.bonus", "pay the plan's bonuses, each exactly once"),
    "extend": ("mturk.extend", "more places in published HITs, or more time"),
    "expire": ("mturk.expire", "offer the HITs to nobody any more"),
    "block": ("mturk.block", "keep workers away, or let them in again"),
    "notify": ("mturk.notify", "send workers a message"),
    "delete": ("mturk.delete", "remove HITs that are over and reviewed"),
    "serve": ("mturk.serve", "a local MTurk: the same API, and a site for workers"),
    "invite": ("mturk.invite", "personal links to the local MTurk"),
}

BPG_VERBS = {  # of `eyetune bpg`
    "encode": ("distortions.bpg.encode", "a photograph as a BPG file"),
    "decode": ("distortions.bpg.decode", "a BPG file as PNG"),
    "info": ("distortions.bpg.info", "what BPG files hold"),
}

HELP = """usage: {command} VERB [options]

{about}

{verbs}

{command} VERB --help tells the options of one verb.
"""
ABOUT = "Turns human judgments of compressed images into a loss that codecs are trained with."
MTURK_ABOUT = "Recruiting and paying workers through the MTurk Requester API: rehearsed locally, for money with --live."
CODEC_ABOUT = "Learned image codecs: training, compressed files, and what they are worth."
BPG_ABOUT = "BPG, Better Portable Graphics: files that Bellard's programs read and write, through a stock HEVC codec."


def main(argv: list[str] | None = None) -> int | None:
    """Run the verb that `argv` begins with."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["codec"]:
        return _dispatch("eyetune codec", CODEC_ABOUT, CODEC_VERBS, arguments[1:])
    if arguments[:1] == ["mturk"]:
        return _dispatch("eyetune mturk", MTURK_ABOUT, MTURK_VERBS, arguments[1:])
    if arguments[:1] == ["bpg"]:
        return _dispatch("eyetune bpg", BPG_ABOUT, BPG_VERBS, arguments[1:])
    mturk = {f"mturk {verb}": value for verb, value in MTURK_VERBS.items()}
    codec = {f"codec {verb}": value for verb, value in CODEC_VERBS.items()}
    bpg = {f"bpg {verb}": value for verb, value in BPG_VERBS.items()}
    return _dispatch("eyetune", ABOUT, VERBS | mturk | codec | bpg, arguments)


def _dispatch(command: str, about: str, verbs: dict[str, tuple[str, str]], arguments: list[str]) -> int | None:
    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(map(len, verbs)) + 2
        lines = "\n".join(f"  {verb:<{width}}{what}" for verb, (_, what) in verbs.items())
        print(HELP.format(command=command, about=about, verbs=lines), end="")
        return 0
    verb, *rest = arguments
    if verb not in verbs:
        raise InputError(f"unknown verb {verb!r}; there are: {', '.join(verbs)}")
    return importlib.import_module(verbs[verb][0]).main(rest)


def cli() -> None:
    """The console script."""
    sys.exit(run(main))


if __name__ == "__main__":
    cli()
