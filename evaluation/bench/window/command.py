"""The bench itself: its parts one after the other, then one table of verdicts, the figures and a picture."""

from collections.abc import Awaitable, Callable

from evaluation.bench.window import blind, memory, speeds, unknown
from evaluation.bench.window.part import Outcome, Subject, WindowOptions
from evaluation.bench.window.picture import draw_memory
from evaluation.pictures.drawing import require_matplotlib
from evaluation.report.delivery import Report, conduct
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Comparison, Target

FAULTS = Target("requests refused or broken", Comparison.AT_MOST, 0)


def run(options: WindowOptions) -> int:
    """Run the bench and return its exit status."""
    if options.plot is not None:
        require_matplotlib()
    return conduct(measure(options), options.delivery)


async def measure(options: WindowOptions) -> Report:
    """Run every part that is wanted and judge it."""
    progress = Progress()
    subjects = options.subjects or tuple(Subject)
    outcomes = {subject: await PARTS[subject](options, progress) for subject in Subject if subject in subjects}
    faults = [fault for outcome in outcomes.values() for fault in outcome.faults]
    return Report(
        title="window",
        setting=options.setting,
        verdicts=[
            *(verdict for outcome in outcomes.values() for verdict in outcome.verdicts),
            FAULTS.judge(len(faults)),
        ],
        measurements={subject.value: outcome.measurements for subject, outcome in outcomes.items()},
        warnings=sorted(set(faults)),
    )


async def _memory(options: WindowOptions, progress: Progress) -> Outcome:
    findings = await memory.measure(options, progress)
    if options.plot is not None:
        draw_memory(findings, options.plot)
    return memory.outcome(findings)


async def _speeds(options: WindowOptions, progress: Progress) -> Outcome:
    return speeds.outcome(await speeds.measure(options, progress))


async def _blind(options: WindowOptions, progress: Progress) -> Outcome:
    return blind.outcome(await blind.measure(options, progress))


async def _unknown(options: WindowOptions, progress: Progress) -> Outcome:
    return unknown.outcome(await unknown.measure(options, progress))


PARTS: dict[Subject, Callable[[WindowOptions, Progress], Awaitable[Outcome]]] = {
    Subject.MEMORY: _memory,
    Subject.SPEEDS: _speeds,
    Subject.BLIND: _blind,
    Subject.UNKNOWN: _unknown,
}
