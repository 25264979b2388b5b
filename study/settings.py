"""`study.toml`: what is asked, of whom, about which codecs. Unknown keys and bad values are errors."""

import json
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from study.errors import InputError
from study.files import write_text
from study.image_store import check_place
from study.recruiting_settings import Hits, Qualification, Recruiting, Workers
from study.sections import Section


class Photographs(Section):
    """Where the references come from."""

    folder: str = Field(
        description="folder of photographs, absolute or relative to this file; searched recursively; or an address such"
        " as s3://bucket/folder"
    )
    crop: int = Field(256, ge=16, le=4096, description="side of the square that observers see, in pixels")
    crops_per_photograph: int = Field(1, ge=1, le=64, description="crops from each photograph, chosen with the seed")
    crops: Literal["textured", "differing", "random"] = Field(
        "textured",
        description="textured, differing (where the codecs differ most at the middle rate) or random; never flat",
    )


class Rates(Section):
    """The rates at which codecs are compared."""

    bits_per_pixel: list[float] = Field(
        [0.25, 0.4, 0.65, 1.0],
        description="targets, in bits per pixel of the whole photograph; [] for a study of qualities or synthetic"
        " distortions alone",
    )
    tolerance: float = Field(
        0.1,
        gt=0,
        le=1,
        description="a rate that a codec misses by more than this share is reported and left out",
    )

    @model_validator(mode="after")
    def _positive_and_distinct(self) -> "Rates":
        if min(self.bits_per_pixel, default=1.0) <= 0 or len(set(self.bits_per_pixel)) != len(self.bits_per_pixel):
            raise ValueError("bits_per_pixel must be distinct numbers above 0")
        return self


class Quality(Section):
    """The qualities at which codecs are compared, beside the rates: pairs that are harder than those of equal rate."""

    psnr: list[float] = Field([], description="targets, in dB of the crop that observers see, for example [30.0, 34.0]")
    tolerance: float = Field(
        0.5, gt=0, le=10, description="a PSNR that a codec misses by more dB than this is reported and left out"
    )
    metric: str | None = Field(
        None,
        min_length=1,
        description="what distances are measured by: ms-ssim, lpips-alex, dists, ..., as eyetune score knows them, or a"
        " file that eyetune export wrote, relative to this file",
    )
    distances: list[float] = Field(
        [], description="targets, distances by that metric of the crop that observers see, for example [0.1, 0.3]"
    )
    distance_tolerance: float = Field(
        0.1, gt=0, le=1, description="a distance that a codec misses by more than this share is reported and left out"
    )
    pairs: int = Field(
        24, ge=0, description="pairs a crop of different codecs at the same PSNR, and at the same distance, at most"
    )

    @model_validator(mode="after")
    def _possible_and_distinct(self) -> "Quality":
        if any(not 0 < target <= 100 for target in self.psnr) or len(set(self.psnr)) != len(self.psnr):
            raise ValueError("psnr must be distinct numbers of dB above 0 and at most 100")
        if any(target <= 0 for target in self.distances) or len(set(self.distances)) != len(self.distances):
            raise ValueError("distances must be distinct numbers above 0")
        if self.metric == "psnr":
            raise ValueError('metric = "psnr" is no distance; give targets in dB as psnr, for example psnr = [30.0]')
        if self.distances and self.metric is None:
            raise ValueError('distances need the metric that they are measured by, for example metric = "lpips-alex"')
        if self.metric is not None and not self.distances:
            raise ValueError(f'metric = "{self.metric}" needs targets, for example distances = [0.1, 0.3]')
        return self


class Codec(Section):
    """A codec or a synthetic distortion that distorts the photographs."""

    name: str = Field(description="of a codec or a distortion; eyetune distort --list has all of them")
    settings: dict[str, str | int | float | bool | list[str]] = Field(
        {},
        description='settings other than the rate, for example { subsampling = "4:4:4" }; of learned'
        ' { checkpoint = "codec.safetensors" }',
    )
    label: str | None = Field(None, description="the name in tables; default: the codec's name")

    @property
    def title(self) -> str:
        """The name in tables."""
        return self.label or self.name


class Triplets(Section):
    """Which comparisons are made of each crop, and how many."""

    design: Literal["codecs-and-rates", "same-rate", "ladder", "random", "stratified", "disagreement", "jnd"] = Field(
        "codecs-and-rates",
        description="which stimuli of a crop are compared: codecs-and-rates (across_codecs and across_rates say how"
        " many), same-rate, ladder, random or jnd (pairs says how many), stratified or disagreement (these by metrics,"
        ' too, for example metrics = ["lpips-alex"])',
    )
    pairs: int = Field(
        24,
        ge=1,
        description="pairs a crop with every design but codecs-and-rates; with jnd rungs of each codec's ladder",
    )
    metrics: list[str] = Field(
        [],
        description='what foretells differences: of stratified one, of disagreement two or more, for example ["psnr",'
        ' "lpips-alex"]; names that eyetune score knows, or files of eyetune export relative to this file',
    )
    across_codecs: int = Field(24, ge=0, description="pairs a crop of different codecs at the same rate, at most")
    across_rates: int = Field(12, ge=0, description="pairs a crop of the same codec at different rates, at most")
    sentinels: int = Field(24, ge=0, description="comparisons in the study whose answer is obvious")
    repeats: float = Field(
        0.1, ge=0, le=1, description="share of the test comparisons that can be shown a second time to their observer"
    )
    practice: int = Field(6, ge=0, description="obvious comparisons with feedback before the trials")

    @model_validator(mode="after")
    def _metrics_that_the_design_takes(self) -> "Triplets":
        least, most = {"stratified": (1, 1), "disagreement": (2, None)}.get(self.design, (0, 0))
        if len(self.metrics) < least or (most is not None and len(self.metrics) > most):
            takes = {0: "no metrics", 1: "exactly one metric", 2: "two metrics or more"}[least]
            raise ValueError(
                f"metrics = {json.dumps(self.metrics, ensure_ascii=False)}: design {self.design} takes {takes}"
            )
        if len(set(self.metrics)) != len(self.metrics):
            raise ValueError(f"metrics = {json.dumps(self.metrics, ensure_ascii=False)}: one stands twice")
        return self


class Session(Section):
    """What one observer is asked to do."""

    trials: int = Field(40, ge=1, le=2000, description="test comparisons in a session")
    sentinels: int = Field(
        8,
        ge=0,
        description="obvious comparisons among them; with 8, 86 % of those who toss coins are found, with 4 31 %",
    )
    repeats: int = Field(4, ge=0, description="comparisons shown a second time")
    practice: int = Field(3, ge=0, description="comparisons with feedback before the trials")
    votes_per_triplet: int = Field(5, ge=1, description="a comparison with this many votes is not shown any more")
    choice: Literal["fewest", "active"] = Field(
        "fewest",
        description="fewest (the comparisons with the fewest votes come first) or active (those from which the most is"
        " expected to be learned, given the votes so far)",
    )


class Page(Section):
    """What an observer reads."""

    title: str = Field("Image comparison", min_length=1, description="the page's title")
    question: str = Field("Which image is closer to the reference?", min_length=1, description="asked in every trial")
    protocol: Literal["side-by-side", "flip"] = Field(
        "side-by-side", description="side-by-side, or flip (one image in view, changed in place)"
    )
    zoom: int = Field(1, ge=1, le=8, description="device pixels an image pixel at first; the observer can change it")
    consent: str = Field(
        "You will compare compressed photographs. Taking part is voluntary, you can stop at any time by closing the"
        " page, and your answers are stored without your name.",
        min_length=1,
        description="what an observer agrees to",
    )
    instructions: str = Field(
        "You will see a reference image and two versions of it. Choose the version that looks closer to the reference."
        " Look at the whole image and at its details. After the practice no answer is right or wrong, but please look"
        " carefully each time.",
        min_length=1,
        description="read before the practice",
    )
    thanks: str = Field("Thank you. Your answers are stored; you can close this page.", description="the last page")


class StudySettings(Section):
    """The whole of `study.toml`."""

    name: str = Field(min_length=1, max_length=100, description="the study's name; observers do not see it")
    seed: int = Field(1, ge=0, description="every random choice follows from it")
    stimuli: str = Field(
        "stimuli",
        description="where the study's images are: a folder below the study, or an address such as s3://bucket/my-study,"
        " of this study alone",
    )
    photographs: Photographs | None = Field(None, description="where the references come from")
    rates: Rates = Field(default_factory=Rates, description="the rates at which codecs are compared")
    quality: Quality = Field(default_factory=Quality, description="equal quality at which codecs are compared, too")
    codecs: list[Codec] = Field([], description="the codecs that distort the photographs")
    triplets: Triplets = Field(default_factory=Triplets, description="which comparisons are made")
    session: Session = Field(default_factory=Session, description="what one observer is asked to do")
    page: Page = Field(default_factory=Page, description="what an observer reads")
    recruiting: Recruiting = Field(
        default_factory=Recruiting, description="who may take part, and what recruiters are told"
    )
    hits: Hits = Field(default_factory=Hits, description="the HITs that eyetune mturk publishes")

    @field_validator("stimuli")
    @classmethod
    def _below_the_study_or_address(cls, stimuli: str) -> str:
        check_place(stimuli)
        return stimuli

    @model_validator(mode="after")
    def _distinct_codecs(self) -> "StudySettings":
        titles = [codec.title for codec in self.codecs]
        twice = sorted({title for title in titles if titles.count(title) > 1})
        if twice:
            raise ValueError(f"codecs: {', '.join(twice)} stands twice; give one of them a label of its own")
        return self


def read_settings(path: Path) -> StudySettings:
    """The settings in the file `path`. Raises InputError that names file, key, value and what is allowed."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    return parse_settings(values, str(path))


def parse_settings(values: dict[str, Any], where: str) -> StudySettings:
    """The settings in a dictionary laid out as `study.toml`; `where` it comes from begins the InputError."""
    try:
        return StudySettings.model_validate(values)
    except ValidationError as error:
        problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")  # a typo first
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(f"{where}: {_explain(problems[0])}{more}") from None


def write_settings(settings: StudySettings, path: Path) -> None:
    """Write `settings` as TOML with every key and its meaning, so that a person can edit it."""
    lines = ["# eyetune study settings. An unknown key or a bad value is an error that says what is allowed.", ""]
    lines += _table(settings, "")
    write_text(path, "\n".join(lines) + "\n")


def _table(section: Section, prefix: str) -> list[str]:
    """Lines of TOML: plain keys first, then tables, then arrays of tables, as TOML asks for."""
    lines: list[str] = []
    tables: list[str] = []
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if isinstance(value, Section):
            tables += ["", f"[{prefix}{key}]  # {field.description}", *_table(value, f"{prefix}{key}.")]
        elif isinstance(value, list) and value and isinstance(value[0], Section):
            for item in value:
                tables += ["", f"[[{prefix}{key}]]", *_table(item, f"{prefix}{key}.")]
        elif value is not None and (value not in ({}, []) or field.default not in ({}, [])):
            lines += [f"# {field.description}", f"{key} = {_value(value)}"]
    return lines + tables


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_value(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    # TOML's basic strings, numbers and booleans are JSON's, but for the one control character that JSON lets through.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _explain(problem: ErrorDetails) -> str:
    location = problem["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key} = {problem['input']!r}; allowed: {', '.join(_allowed_keys(location[:-1]))}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"key {key} is missing"
    if not key or isinstance(problem["input"], dict):
        return f"{key}: {message}".lstrip(": ")
    return f"{key} = {problem['input']!r}: {message[0].lower()}{message[1:]}"


def _allowed_keys(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = StudySettings
    sections: dict[str, type[BaseModel]] = {"photographs": Photographs, "rates": Rates, "codecs": Codec}
    sections |= {"quality": Quality, "triplets": Triplets, "session": Session, "page": Page}
    sections |= {"recruiting": Recruiting, "hits": Hits, "workers": Workers, "qualifications": Qualification}
    for part in location:
        model = sections.get(str(part), model)
    return sorted(model.model_fields)
