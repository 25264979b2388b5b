"""The `eyetune` console command: names a verb and imports its module only when it is called."""

import importlib
import sys

from study.command import run
from study.errors import InputError

VERBS = {  # verb: (module whose main(argv) does it, what it does)
    "demo": ("eyetune_demo", "the whole loop on one machine in minutes, on photographs that packages ship"),
    "new": ("study.new", "a study with its settings written out"),
    "distort": ("distortions.distort", "stimuli and triplets from the study's photographs and codecs"),
    "serve": ("webapp.serve", "the blind A/B page, on SQLite"),
    "simulate": ("webapp.simulate", "simulated observers through the real page, marked as such for ever"),
    "votes": ("webapp.votes", "export the votes"),
    "analyze": ("analysis.analyze", "the votes as a report, tables and figures"),
    "train": ("metric.train", "fit a perceptual metric to the votes"),
    "score": ("metric.score", "what metrics say of each triplet, and how often observers agree"),
    "export": ("metric.export", "hand out a trained metric"),
}

HELP = """usage: eyetune VERB [options]

Turns human judgments of compressed images into a loss that codecs are trained with.

{verbs}

eyetune VERB --help tells the options of one verb.
"""


def main(argv: list[str] | None = None) -> int | None:
    """Run the verb that `argv` begins with."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP.format(verbs="\n".join(f"  {verb:<10}{what}" for verb, (_, what) in VERBS.items())), end="")
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        raise InputError(f"unknown verb {verb!r}; there are: {', '.join(VERBS)}")
    return importlib.import_module(VERBS[verb][0]).main(rest)


def cli() -> None:
    """The console script."""
    sys.exit(run(main))


if __name__ == "__main__":
    cli()
