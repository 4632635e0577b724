"""What the demo prints when it is done."""

from rich.console import Console

from app import rankings
from app.demo.inputs import RATERS_METRIC, UNLABELLED, VOTED
from app.demo.loop import OBSERVERS_METRIC, SUBJECTS, Result
from pipelines.evaluation.stage import Evaluation


def show(result: Result, out: Console) -> None:
    """Print a short readable summary."""
    run, study = result.run, result.run.study
    out.print()
    out.print(
        f"{run.images.images} LR images, {run.outputs.outputs} outputs of {len(study.methods)} methods, "
        f"{run.end.pairs.pairs} pairs selected, {result.ranking.votes} votes by {SUBJECTS} simulated subjects",
        soft_wrap=True,
    )
    _heading(out, "Ranking (Thurstone)")
    out.print(rankings.table(result.ranking, out.width, ascii_only=out.options.ascii_only))
    out.print()
    for line in rankings.footnotes(result.ranking):
        out.print(line, markup=False, soft_wrap=True)
    _heading(out, "Agreement with the votes (2AFC score)")
    for line in _agreement(result.evaluation):
        out.print(line, markup=False, soft_wrap=True)
    out.print()
    for line in (*_cautions(result), *_how(result), f"everything is in {result.directory}  ({result.seconds:.0f} s)"):
        out.print(line, markup=False, soft_wrap=True)


def _heading(out: Console, text: str) -> None:
    out.print(f"\n[bold]{text}[/]")


def _agreement(evaluation: Evaluation) -> list[str]:
    after = evaluation.differences["after"]
    rows = [
        ("quality model before calibration", evaluation.models["before"], ""),
        (
            "quality model after calibration",
            evaluation.models["after"],
            f"{after.difference:+.3f} ({after.lower:+.3f} .. {after.upper:+.3f}, 95 % over {after.images} images)",
        ),
        ("ranking only, no pixels", evaluation.ranking_only_in_sample, "fitted on these votes, as the calibration was"),
        ("  the same, cross-validated", evaluation.ranking_only, "fitted on the votes on other LR images"),
        ("two random subjects", evaluation.two_random_humans, ""),
        ("one subject by the others' majority", evaluation.leave_one_out_human, ""),
        ("oracle", evaluation.oracle, "the most that any metric can reach"),
    ]
    return [f"{name:<37}{score:.4f}   {remark}".rstrip() for name, score, remark in rows if score is not None]


def _cautions(result: Result) -> list[str]:
    """What the figures cannot carry."""
    lines = []
    if result.evaluation.models["after"] <= result.evaluation.ranking_only_in_sample:
        lines.append("the calibrated model does not beat the ranking alone: at best it recognises methods")
    if result.calibration.training.chosen == 0:
        lines.append("training did not help on held-out images: the model is unchanged")
    return [f"caution: {line}" for line in lines]


def _how(result: Result) -> list[str]:
    training = result.calibration.training
    return [
        f"voted on: {', '.join(VOTED)}; learned from: {', '.join(UNLABELLED)}",
        f"subjects judge by {OBSERVERS_METRIC}, raters by {RATERS_METRIC}, D1 is {result.run.study.selection.distance}",
        f"quality model: cross-validated SRCC {result.pretraining.srcc:.3f} on rated images",
        f"calibration: B = {training.batch}, epoch {training.chosen} of {len(training.history) - 1} chosen on held-out "
        "images",
    ]
