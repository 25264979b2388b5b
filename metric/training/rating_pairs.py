"""Mean ratings as preferences between images of one photograph, which is what a distance can be asked."""

import numpy as np
import pandas as pd
from scipy.special import ndtr

from metric.data.judgments import COMPARISONS, RATINGS
from study.errors import InputError

PARTNERS = 4  # images that each image is compared with, on either side in a random circle: all of up to nine


def rated_comparisons(ratings: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """COMPARISONS made of RATINGS: of the images of one reference, each against up to twice PARTNERS others.

    The share that prefers b is Thurstone's, Phi((rating_b - rating_a) / s), with s the standard deviation of all mean
    ratings: single ratings of one image scatter by about .7 s in rating studies, those of two by about s. The loss's
    own slope makes up for another scatter. An image's ratings are spread over its pairs as votes, so that many pairs
    say no more than the ratings do. Raises InputError for ratings that are not numbers.
    """
    table = ratings.reindex(columns=RATINGS)
    values = table["rating"].to_numpy(float)
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        raise InputError(f"rating {table['id'].iloc[wrong[0]]}: {values[wrong[0]]:g} is not a finite number")
    votes = np.nan_to_num(pd.to_numeric(table["votes"], errors="coerce").to_numpy(float), nan=1.0)
    spread = values.std() or 1.0
    generator = np.random.default_rng(seed)
    rows = []
    for _, places in sorted(table.groupby("reference").indices.items()):
        circle = generator.permutation(places)
        n = len(circle)
        steps = range(1, min(PARTNERS, n // 2) + 1)
        pairs = {
            (int(min(i, j)), int(max(i, j)))
            for step in steps
            for i, j in zip(circle, np.roll(circle, step), strict=True)
        }
        each = 2 * len(pairs) / n
        for i, j in sorted(pairs):
            count = (votes[i] + votes[j]) / 2 / each
            share = float(ndtr((values[j] - values[i]) / spread))
            first, second = table.iloc[i], table.iloc[j]
            images = (first["source"], first["reference"], first["distorted"], second["distorted"])
            rows.append((f"{first['id']} {second['id']}", *images, share * count, count))
    made = pd.DataFrame(rows, columns=["id", "source", "reference", "a", "b", "prefer_b", "votes"])
    return made.reindex(columns=COMPARISONS)
