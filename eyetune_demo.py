"""`eyetune demo [DIR]`: the whole loop on one machine in minutes, verb by verb, without a network.

Simulated observers vote from LPIPS-VGG, the metric that is trained stands on AlexNet, and HaarPSI, which has no network
in it, judges from outside: three different metrics, so that none is asked about itself.

--codec goes on: a small learned codec is trained on all photographs but one, then further in two ways, for squared
error and for the metric; and that one photograph is compressed by both, and by JPEG.
"""

import argparse
import importlib.util
import shlex
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import eyetune
from study.errors import InputError
from study.files import write_text

PHOTOGRAPHS = {  # package: {file below it: whose it is}
    "skimage": {
        "data/astronaut.png": "Eileen Collins, NASA; public domain",
        "data/chelsea.png": "Stefan van der Walt; CC0",
        "data/coffee.png": "Rachel Michetti, courtesy of Pikolo Espresso Bar; CC0",
        "data/rocket.jpg": "SpaceX; public domain (CC0)",
    },
    "sklearn": {
        "datasets/images/china.jpg": "danielbuechele, flickr.com/photos/danielbuechele/6061409035; CC BY 2.0",
        "datasets/images/flower.jpg": "vultilion, flickr.com/photos/vultilion/6056698931; CC BY 2.0",
    },
    "matplotlib": {
        "mpl-data/sample_data/grace_hopper.jpg": "Rear Admiral Grace Hopper, U.S. Navy; public domain",
    },
}
OBSERVERS = 32
SIMULATOR = "lpips-vgg"
JUDGE = "haarpsi"
VOTERS = ("--voters", "simulated")  # also where people have voted in the demo's study since


@dataclass(frozen=True)
class Budget:
    """What training the codecs takes."""

    channels: tuple[int, int]
    crop: int
    start: int
    """Steps before the codec is trained in two ways."""
    further: int
    """Steps of each of the two."""


MINUTES = Budget((32, 48), 256, 1600, 300)  # 5 to 12 on two cores
LAMBDAS = (0.002, 0.008)  # two rates and all between, so that both codecs can be had at equal bits
RATE = 1e-3  # Adam's, of the start: few steps
SEED = 6  # holds out china.jpg, which has fine structure
METRIC, MSE = 1000, 0.5  # weights of the metric and, beside it, of squared error on the scale of 0..255: see codecs()
NOTICE = "Of eyetune demo: trained for minutes on a few photographs. It shows the loop, not what learned codecs can do."


def main(argv: list[str] | None = None, budget: Budget = MINUTES) -> int | None:
    """Run every stage; those that are done already are left as they are."""
    parser = argparse.ArgumentParser(
        prog="eyetune demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", metavar="DIR", nargs="?", type=Path, help="folder for the study (default: a new one)")
    parser.add_argument(
        "--images", type=Path, metavar="PHOTOGRAPHS", help="your own photographs (default: seven of ours)"
    )
    parser.add_argument("--observers", type=int, default=OBSERVERS, help="simulated observers (%(default)s)")
    parser.add_argument("--codec", action="store_true", help="go on to train small codecs: 5 to 12 minutes more")
    options = parser.parse_args(argv)
    if options.observers < 1:
        raise InputError(f"--observers {options.observers}: at least 1")
    start = time.monotonic()
    again = ["--codec"] if options.codec else []
    root: Path = options.study or Path(tempfile.mkdtemp(prefix="eyetune-demo-"))

    _stage("A study: its settings in one file")
    from study.folder import Study

    print(f"in {root}; interrupted, it goes on with: {_command('demo', root, *again)}")
    if (root / "study.toml").exists():
        settings = Study(root).settings.photographs
        if options.images and settings and (root / settings.folder).resolve() != options.images.resolve():
            raise InputError(f"{root} is a study of other photographs; name another folder for {options.images}")
        print(f"{root} is there already; going on with it")
    else:
        _verb("new", root, "--images", options.images or _photographs(root / "photographs"))
    unseen = unseen_photograph(root, budget) if options.codec else None
    _stage("Distortions: every photograph through every codec at every rate, and the pairs to compare")
    _verb("distort", root)
    _stage(f"Votes: simulated observers, who see as {SIMULATOR} does, use the real page")
    _verb("simulate", root, "--observers", options.observers, "--metric", SIMULATOR)
    _stage("Analysis: observers, preferences, Bradley-Terry scores")
    _verb("analyze", root, *VOTERS)
    _stage("Training: heads on AlexNet, from those votes")
    from metric.training import runs

    study = Study(root)
    if not runs.newest_run(study.runs_folder):
        _verb("train", root, *VOTERS)
    run = runs.newest_run(study.runs_folder)
    assert run
    if not list((run / "export").glob("*.md")):  # the card is written last
        _verb("export", root, "--formats", "safetensors", "lpips")
    (exported,) = (run / "export").glob("*.safetensors")
    _stage(f"A third opinion: {JUDGE}, which neither voted nor was trained")
    _verb("score", root, *VOTERS, "--metrics", JUDGE, SIMULATOR, exported)
    _third_opinion(root, run)
    page = codecs(root, unseen, exported, budget) if unseen else None

    print(
        f"\nDone in {time.monotonic() - start:.0f} s. The votes were SIMULATED: they show the tool, not how people see."
    )
    print(f"  the report     {root / 'report' / 'report.html'}")
    print(f"  the metric     {exported}")
    print(f"  its card       {exported.with_suffix('.md')}")
    if page:
        print(f"  the codecs     {page}")
    else:
        print(f"  train codecs   {_command('demo', root, '--codec')}   (with this metric, and without)")
    print(f"  vote yourself  {_command('serve', root)}   (people's votes are kept apart from simulated ones)")
    print(f"  your own       {_command('demo', 'NEW_DIR', '--images', 'YOUR_PHOTOGRAPHS')}")
    return 0


def codecs(root: Path, unseen: Path, metric: Path, budget: Budget) -> Path:
    """The page that shows two codecs, trained alike but for their distortion, and JPEG on the photograph `unseen`.

    Both begin with the same weights and see the same crops and noise: one is trained for squared error, one for the
    exported `metric` and, so that colours stay, a little squared error.
    """
    from codec.checkpoint import training_record

    start, squared, perceptual = (root / "codec" / name / "codec.safetensors" for name in ("start", "mse", "metric"))
    alike = {"held-out": 1, "seed": SEED, "crop": budget.crop, "batch": 2, "ema": 0.99, "validations": 1}
    usual = [word for option, value in alike.items() for word in (f"--{option}", value)]

    def train(codec: Path, steps: int, *options: object) -> None:
        words = ("--out", codec.parent, "--steps", steps, *options, *usual, "--notice", NOTICE)
        _verb("codec", "train", _folder(root), *words)

    _stage("A learned codec: a small one for all rates, from random weights")
    train(start, budget.start, "--channels", *budget.channels, "--lambda", *LAMBDAS, "--learning-rate", RATE)
    _stage("The same codec twice, trained further for squared error, and for the metric")
    train(squared, budget.further, "--start", start, "--mse", 1)
    train(perceptual, budget.further, "--start", start, "--mse", MSE, "--metric", f"{metric}:{METRIC}")
    _stage(f"What they make of {unseen.name}, which they have not seen")
    records = [training_record(path) for path in (start, perceptual)]
    minutes = sum(record["seconds"] for record in records) / 60
    judges = ("--metric", metric, "--lpips", SIMULATOR.removeprefix("lpips-"))
    once = ("--workers", 1)  # a second process takes as long to begin as it would save on one photograph
    page = root / "codec" / "evaluation" / "evaluation.html"
    words = ("--codec", squared, perceptual, "--classical", "jpeg", "--reference", "mse", *judges, *once)
    _verb("codec", "evaluate", unseen, *words, "--out", page.parent)
    print(
        f"\nTrained for {minutes:.0f} minutes on {records[0]['photographs']} photographs: that shows the loop,", end=" "
    )
    print("not what learned codecs can do. The metric has seen votes on crops of this photograph too.")
    return page


def _folder(root: Path) -> Path:
    """The photographs of the study. Raises InputError where it has none."""
    from study.folder import Study

    settings = Study(root).settings.photographs
    if not settings:
        raise InputError(f"{root} was made of a BAPPS folder; --codec needs a study of whole photographs")
    return root / settings.folder


def unseen_photograph(root: Path, budget: Budget) -> Path:
    """The photograph that `eyetune codec train --held-out 1` holds out. Raises InputError where there is none."""
    from codec.training.crops import read_photographs, split

    photographs, _ = read_photographs(_folder(root), budget.crop, quiet=True)
    _, held_out = split(photographs, 1, SEED)
    if not held_out:
        raise InputError(f"{_folder(root)}: --codec needs two photographs of {budget.crop} pixels a side or more")
    return held_out[0].path


def _photographs(folder: Path) -> Path:
    """A folder with copies of the photographs that installed packages ship, and whose they are."""
    attributions = []
    for package, files in PHOTOGRAPHS.items():
        specification = importlib.util.find_spec(package)
        if not specification or not specification.origin:
            print(f"{package} is not installed: its photographs are left out (pip install 'eyetune[demo]')")
            continue
        for name, owner in files.items():
            path = Path(specification.origin).parent / name
            if not path.is_file():
                print(f"{package} has no {name} in this version: left out")
                continue
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / path.name)
            attributions.append(f"{path.name}: {owner} (from the package {package})")
    if not attributions:
        raise InputError("no photographs to be had; pip install 'eyetune[demo]', or give your own: --images FOLDER")
    write_text(folder / "ATTRIBUTION.txt", "\n".join(attributions) + "\n")
    return folder


def _third_opinion(root: Path, run: Path) -> None:
    import pandas as pd

    from metric.data.judgments import images_of
    from metric.judging.judged import rank_correlation
    from metric.score import score
    from study.folder import Study

    data = images_of(Study(root))
    judge = score(data, JUDGE)[1]
    held_out = pd.read_parquet(run / "held_out.parquet").set_index("triplet")
    before = score(data, "lpips-alex")[1].reindex(held_out.index)
    print(f"Spearman's correlation with {JUDGE} over the stimuli of the voted triplets:")
    print(f"  trained (held out)  {rank_correlation(held_out, judge):.3f}")
    print(f"  lpips-alex          {rank_correlation(before, judge):.3f}   (where the training started)")
    print(f"  {SIMULATOR:<18}  {rank_correlation(score(data, SIMULATOR)[1].reindex(held_out.index), judge):.3f}")


def _stage(title: str) -> None:
    print(f"\n== {title}", flush=True)


def _verb(verb: str, *arguments: object) -> None:
    words = [str(argument) for argument in arguments]
    print(f"$ {_command(verb, *words)}", flush=True)
    status = eyetune.main([verb, *words])
    if status:
        sys.exit(status)


def _command(verb: str, *arguments: object) -> str:
    return shlex.join(["eyetune", verb, *(str(argument) for argument in arguments)])
