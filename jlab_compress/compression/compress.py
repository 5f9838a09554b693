"""The public calls that make a model slim: by an aim, or by a plain method of the field."""

from __future__ import annotations

from typing import Any

from torch import nn

from jlab_compress.compression.fits.aim import Aim
from jlab_compress.compression.fits.aims import BASELINES, read_aim
from jlab_compress.compression.interrupted import Work, forget_interrupted, kept
from jlab_compress.compression.joint.task import share_stream
from jlab_compress.compression.pipeline import Compression, Settings, shrink
from jlab_compress.compression.prepare import read_prepared
from jlab_compress.compression.prepared import Prepared
from jlab_compress.compression.widths.forecasts import forecaster
from jlab_compress.compression.widths.request import Resolved, WidthRequest, given_widths, read_request
from jlab_compress.execution.progress import Progress
from jlab_compress.fitting.effort import Effort, EffortName, read_effort
from jlab_compress.surroundings import shielded


@shielded()
def compress(
    model: nn.Module | Prepared,
    widths: Any = None,
    *,
    calibration: Any = None,
    limit: int | None = None,
    tolerance: float | None = None,
    preserve: str | Aim = "dynamics",
    effort: EffortName | Effort = "normal",
    seed: int = 0,
    plain: bool = False,
    round_to: int = 1,
    progress: Progress = True,
) -> Compression:
    """Return a slim model in which blocks have fewer neurons, each with a multiplicity.

    Blocks are done in the order in which they run: a block is fitted to the inputs that reach it in the
    slim model so far. One row in ten is held out to measure the function gap of the whole model.

    Parameters
    ----------
    model : nn.Module or Prepared
        The original; it stays bit for bit as it is, with its flags, hooks and random states. Or what
        `prepare` returned for it, with its calibration.
    widths : int, float, "polylog" or mapping of str to these
        A number of neurons, a fraction of the present width, or 2 (ln n)^2; for every block that is not
        locked, or per block name. None where a tolerance is given. Attention heads, and blocks whose width a
        transformers configuration fixes (a pooler), are compressed only where a mapping names them.
    tolerance : float
        Takes for each block the smallest width whose expected held-out error is within it, as `sweep`
        forecasts: of the outputs, and for "dynamics" of the tangent kernel too.
    calibration : Tensor, tuple, mapping or iterable of these
        Real inputs, without targets: one batch, or a list or loader of batches. At least six rows for
        each kept neuron serve best.
    limit : int
        How many batches of the calibration to read; a stream that does not end needs one.
    preserve : {"dynamics", "function", "moments"} or Aim
        "dynamics" matches outputs and tangent kernel, so that the slim model also trains alike;
        "function" matches outputs best, for models that are only deployed; "moments" matches moments of
        the parameters, for blocks of low dimension. An `Aim` of your own is taken as it is.
    effort : {"quick", "normal", "thorough"} or Effort
        How long neurons are moved, see Notes; "normal" suits most models.
    seed : int
        Same seed, same bits. A prepared model keeps the split into rows that its own seed gave.
    plain : bool
        Give stock layers without multiplicities (theta_j becomes sqrt(c_j) theta_j); exact for SGD where
        the activation is positively homogeneous, such as ReLU.
    round_to : int
        Fractions, "polylog" and a tolerance give widths that are multiples of this (rounded up, at most
        the present width), as fast kernels like them; a number of neurons must be one. Exact duplicates
        still merge to fewer neurons, and heads are not rounded.
    progress : bool or callable
        A progress bar, none, or a function of (block name, steps done, steps in all).

    Returns
    -------
    Compression
        The slim model, its plan and its report.

    Raises
    ------
    TypeError, ValueError
        If an argument cannot be used; nothing has changed then.
    UnsupportedBlockError
        If a wanted block is locked.
    KeyboardInterrupt
        On an interrupt; `last_interrupted` has the slim model so far, and the way on.

    Notes
    -----
    A block whose own outputs say what it is worth is fitted by itself. Blocks that share a residual stream,
    channels, and neurons with a batch norm are only started by themselves, by greedy selection with refit.
    Then all blocks are refined jointly: for "function" so that hidden states, outputs and back-propagated
    gradients become the original's (joint distillation), for "dynamics" so that tangent kernels do so too, in
    a residual stream those of blocks, elsewhere that of the whole network (NTK matching). "moments" ends
    without. Where plain greedy selection with refit has the smaller function gap on held-out rows, "function"
    returns that instead.

    Cost, in products of matrices over those of one forward pass over the calibration: at normal effort about
    110 ("function") and 340 ("dynamics") for one block of 1,024 neurons to 64, and 170 and 500 for two
    feed-forward blocks of an encoder; "quick" takes a quarter to a half of that, "thorough" two to three
    times as much (`benchmarks/passes.md`).

    Activations of one block at a time are in memory, at most 16,384 rows. Source of the multiplicities
    and of the division of gradients: Wang, Luo, Poggio, Chuang, Ziyin (2026), arXiv 2510.00504.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1))
    >>> for p in net.parameters():
    ...     _ = nn.init.constant_(p, 0.5)
    >>> slim = compress(net, 2, calibration=torch.randn(40, 2), progress=False).model
    >>> slim[0].out_features, slim[0].output_multiplicities
    (1, tensor([6.]))
    """
    aim = read_aim(preserve)
    request = read_request(widths, tolerance, kernel=aim.matches_training, round_to=round_to)
    settings = Settings(seed, read_effort(effort), plain, progress)
    forget_interrupted()
    prepared = read_prepared(model, calibration, seed=seed, limit=limit)
    work = Work(prepared, resolve(request, prepared, aim, settings), aim, settings)
    with kept(work):
        return shrink(prepared, work.wanted, aim, settings, work.finished)


@shielded()
def compress_baseline(
    model: nn.Module | Prepared,
    widths: Any,
    *,
    calibration: Any = None,
    limit: int | None = None,
    method: str,
    effort: EffortName | Effort = "normal",
    seed: int = 0,
) -> Compression:
    """Return what a plain method of the field makes of the same blocks, for comparison.

    Parameters
    ----------
    model, widths, calibration, limit, seed
        As in `compress`.
    effort : {"quick", "normal", "thorough"} or Effort
        Of the trial fits behind the forecast for "polylog" widths; nothing else is moved.
    method : {"random", "magnitude", "k-means", "greedy", "interpolative", "nnls"}
        Random subset with c = n/s, largest norms, k-means merge with counts, greedy selection with refit,
        pivoted-QR interpolation, non-negative least squares on outputs.

    Raises
    ------
    ValueError
        If the method is unknown, and as `compress`.
    """
    if not isinstance(method, str) or method not in BASELINES:
        raise ValueError(f"method: expected one of {sorted(BASELINES)}, got {method!r}")
    aim, settings = BASELINES[method], Settings(seed, read_effort(effort))
    forget_interrupted()
    prepared = read_prepared(model, calibration, seed=seed, limit=limit)
    work = Work(prepared, resolve(given_widths(widths), prepared, aim, settings), aim, settings)
    with kept(work):
        return shrink(prepared, work.wanted, aim, settings, work.finished)


def resolve(request: WidthRequest, prepared: Prepared, aim: Aim, settings: Settings) -> Resolved:
    """Return the widths that a request means for a model, by forecasts for the aim where it takes some."""
    forecast = forecaster(
        prepared,
        aim,
        prepared.fit,
        shares_stream=share_stream(prepared.blocks.by_default),
        kernel=aim.matches_training,
        seed=settings.seed,
        effort=settings.effort,
    )
    return request.resolve(prepared.blocks, forecast)
