"""Signs of failure: for each moment of a trace, how far a measurement is beyond what is healthy.

A sign is a series [N] that is 1 or more where the sign is present, and below 1 or NaN elsewhere. It uses nothing later
than its moment, so that a trace can be diagnosed while it grows. Thresholds: chosen and judged by `make bench-doctor`.
"""

import numpy as np

from training.doctor.trace import Series, Trace, best_so_far, change, first, last_gain, overfitting, running

SMOOTHED = 3  # rows whose mean is compared
GAINING = 5  # rows over which a failing run gains nothing
MAX_GRADIENT = 100.0  # norm of a network's gradient (../docs/training.md)
CONFIDENT = 0.04  # D(G(z)) and 1 - D(x) below which the discriminator is sure of every image
FASTER = 2.0  # growth of the discriminator's weights, in that of the generator's
NEVER_APART = 0.1  # D(x) - D(G(z)) that a discriminator of any use has at some time
SEPARATED = 22.0  # standard errors between the logits of real and of generated images
UNCHANGED = 0.88  # KID over that of GAINING rows before, above which images hardly get better
COLLAPSED = 0.25  # share of the real images' diversity
PARTLY_COLLAPSED = 0.45
LOST = 0.7  # of the greatest diversity so far, below which some of it has been lost
MAX_GAIN = 1.15  # of the diversity over GAINING rows, above which it is still growing
BLANK = 0.12
MAX_DUPLICATES = 0.6
STILL_REPEATED = 0.8  # of the duplicates GAINING rows before
OVERFITTED = 0.25  # r_v of Karras et al. 2020
CERTAIN = 4.0  # standard errors of the difference between training and held-out images
MAX_COPIES = 0.25  # alike things, such as shirts, give a tenth without any copying
UNSTEADY = 0.8  # standard deviation of the discriminator's loss over its mean
WORSE = 1.25  # KID over its best
FALLEN = 0.8  # KID over the first one, below which there is something to lose
KID_NOISE = 2.0  # standard deviations of the KID, within which a difference may be chance
GAIN = 0.95  # KID over that of the last gain, below which something is gained
QUIET = 0.5  # of a run without a gain
QUIET_ROWS = 10
LABEL_ACCURACY = 0.15  # above chance, as a share of what is left above it


def over(values: Series, limit: float) -> Series:
    """Sign of values above a limit."""
    return values / limit


def under(values: Series, limit: float) -> Series:
    """Sign of values below a limit."""
    with np.errstate(divide="ignore"):
        sign: Series = limit / np.maximum(values, 0)
    return sign


def both(*signs: Series) -> Series:
    """Sign that is present where all signs are."""
    sign: Series = np.minimum.reduce(signs)
    return sign


def not_a_number(trace: Trace) -> Series:
    """Losses that are not numbers."""
    return np.where(trace["exploded"] > 0, np.inf, np.nan)


def exploding(trace: Trace) -> Series:
    """Gradients of an exploding network."""
    return over(np.fmax(trace["g_gradient"], trace["d_gradient"]), MAX_GRADIENT)


def confident(trace: Trace) -> Series:
    """A discriminator that is sure of all real images and of all generated ones."""
    doubt = np.fmax(1 - trace["d_real"], trace["d_fake"])
    return under(running(doubt, SMOOTHED), CONFIDENT)


def outrunning(trace: Trace) -> Series:
    """A discriminator whose weights grow faster than the generator's, so that its verdict is another at every step."""
    growth = [running(np.log(change(trace[name], 1)), SMOOTHED) for name in ("d_weights", "g_weights")]
    return np.where(growth[1] > 0, over(growth[0] / growth[1], FASTER), np.nan)


def indifferent(trace: Trace) -> Series:
    """A discriminator that has never told real images from generated ones, while these hardly get better."""
    apart = np.fmax.accumulate(running(np.abs(trace["d_real"] - trace["d_fake"]), SMOOTHED))
    errors = [trace[f"d_{name}_logit_error"] for name in ("training", "generated")]
    difference = trace["d_training_logit"] - trace["d_generated_logit"]
    separation = running(difference / np.sqrt((errors[0] ** 2 + errors[1] ** 2) / 2), SMOOTHED)
    gain = change(running(trace["kid"], SMOOTHED), GAINING)
    return both(under(apart, NEVER_APART), under(separation, SEPARATED), over(gain, UNCHANGED))


def variety(trace: Trace) -> Series:
    """Least share of the real images' diversity, in features or in pixels."""
    return running(np.fmin(trace["diversity"], trace["pixel_diversity"]), SMOOTHED)


def collapsed(trace: Trace) -> Series:
    """Images that are alike, whatever z, and do not become more different."""
    return both(under(variety(trace), COLLAPSED), under(change(variety(trace), GAINING), MAX_GAIN))


def blank(trace: Trace) -> Series:
    """Images that are all but the same."""
    return under(variety(trace), BLANK)


def less_varied(trace: Trace) -> Series:
    """Images that vary far less than real ones, and far less than earlier ones."""
    share = variety(trace)
    return both(under(share, PARTLY_COLLAPSED), under(share / np.fmax.accumulate(share), LOST))


def repeated(trace: Trace) -> Series:
    """Images of which most are the same as another, and go on to be."""
    duplicates = running(trace["duplicates"], SMOOTHED)
    return both(over(duplicates, MAX_DUPLICATES), over(change(duplicates, GAINING), STILL_REPEATED))


def overfitted(trace: Trace) -> Series:
    """A discriminator to which held-out images look generated."""
    r_v, errors = overfitting(trace)
    return both(over(r_v, OVERFITTED), over(errors, CERTAIN))


def copied(trace: Trace) -> Series:
    """Images that are near-copies of training images."""
    return over(running(trace["copies"], SMOOTHED), MAX_COPIES)


def unsteady(trace: Trace) -> Series:
    """A discriminator whose loss swings by as much as it is."""
    return over(trace["d_loss_std"] / trace["d_loss"], UNSTEADY)


def worse_than_best(trace: Trace) -> Series:
    """A KID, or FID, that had fallen, and has risen above its best by more than its noise."""
    metric = quality(trace)
    smooth = running(metric, SMOOTHED)
    best = best_so_far(smooth)
    noise = np.where(np.isfinite(trace["kid_std"]), KID_NOISE * trace["kid_std"], 0.0)
    fallen = best < FALLEN * first(metric)
    return both(over(smooth / np.maximum(best, 1e-3), WORSE), np.where(fallen & (smooth - best > noise), np.inf, 0.0))


def quiet(trace: Trace) -> Series:
    """A KID, or FID, that has not fallen for half of the run and many rows."""
    smooth = running(quality(trace), SMOOTHED)
    gained = last_gain(smooth, GAIN)
    rows = (np.arange(len(trace)) - gained).astype(np.float64)
    lasting = both(over((trace.kimg - trace.kimg[gained]) / trace.kimg, QUIET), over(rows, QUIET_ROWS))
    return np.where(np.isfinite(smooth), lasting, np.nan)


def quality(trace: Trace) -> Series:
    """Measure of the images' quality: KID, or FID where there is none."""
    return trace["kid"] if trace.has("kid") else trace["fid"]


def mislabelled(trace: Trace) -> Series:
    """Labels that a classifier of the real images cannot learn, in a run that is told them."""
    chance = trace["class_chance"]
    learned = under((trace["classifier_accuracy"] - chance) / (1 - chance), LABEL_ACCURACY)
    return np.where(np.isfinite(trace["class_agreement"]), learned, np.nan)
