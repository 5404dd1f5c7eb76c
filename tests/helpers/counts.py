"""Whether counts could be those of equally likely outcomes."""

import math

import numpy as np


def uniform(counts):
    """Pearson's statistic of counts that should be equal, in standard deviations above its mean."""
    counts = np.asarray(counts, float)
    free = len(counts) - 1
    return (((counts - counts.mean()) ** 2).sum() / counts.mean() - free) / math.sqrt(2 * free)
