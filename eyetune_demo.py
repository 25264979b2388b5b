"""`eyetune demo [DIR]`: the whole loop on one machine in minutes, verb by verb, without a network.

Simulated observers vote from LPIPS-VGG, the metric that is trained stands on AlexNet, and HaarPSI, which has no network
in it, judges from outside: three different metrics, so that none is asked about itself.
"""

import argparse
import importlib.util
import shlex
import shutil
import sys
import tempfile
import time
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


def main(argv: list[str] | None = None) -> int | None:
    """Run every stage; those that are done already are left as they are."""
    parser = argparse.ArgumentParser(
        prog="eyetune demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", metavar="DIR", nargs="?", type=Path, help="folder for the study (default: a new one)")
    parser.add_argument(
        "--images", type=Path, metavar="PHOTOGRAPHS", help="your own photographs (default: seven of ours)"
    )
    parser.add_argument("--observers", type=int, default=OBSERVERS, help="simulated observers (%(default)s)")
    options = parser.parse_args(argv)
    if options.observers < 1:
        raise InputError(f"--observers {options.observers}: at least 1")
    start = time.monotonic()
    root: Path = options.study or Path(tempfile.mkdtemp(prefix="eyetune-demo-"))

    _stage("A study: its settings in one file")
    from study.folder import Study

    print(f"in {root}; interrupted, it goes on with: {_command('demo', root)}")
    if (root / "study.toml").exists():
        settings = Study(root).settings.photographs
        if options.images and settings and (root / settings.folder).resolve() != options.images.resolve():
            raise InputError(f"{root} is a study of other photographs; name another folder for {options.images}")
        print(f"{root} is there already; going on with it")
    else:
        _verb("new", root, "--images", options.images or _photographs(root / "photographs"))
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

    print(
        f"\nDone in {time.monotonic() - start:.0f} s. The votes were SIMULATED: they show the tool, not how people see."
    )
    print(f"  the report     {root / 'report' / 'report.html'}")
    print(f"  the metric     {exported}")
    print(f"  its card       {exported.with_suffix('.md')}")
    print(f"  vote yourself  {_command('serve', root)}   (people's votes are kept apart from simulated ones)")
    print(f"  your own       {_command('demo', 'NEW_DIR', '--images', 'YOUR_PHOTOGRAPHS')}")
    return 0


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
