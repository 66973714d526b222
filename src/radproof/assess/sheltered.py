# SPDX-License-Identifier: Apache-2.0
"""Plans with strangers' model files do all of their work in a guarded process; others do it here."""

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from radproof.assess import run
from radproof.assess.craft import IMAGES
from radproof.assess.finished import read_result
from radproof.assess.leavings import RESULT
from radproof.assess.plan import Plan
from radproof.assess.reading import networks, of_plan, own_images
from radproof.assess.result import Certified, Result
from radproof.core.files import write_text
from radproof.core.guard import STRICT, Guarded, Limits, guarded, inside, missing
from radproof.core.guard_memory import MEMORY, guard_memory
from radproof.core.guard_watch import remove
from radproof.core.progress import SILENT, Progress
from radproof.core.records import Doubt
from radproof.data.manifest import Manifest
from radproof.errors import BadInput, BadModel, BadPlan, Interrupted
from radproof.models.opening import is_own

Work = Literal["assess", "craft", "certify"]
T = TypeVar("T")
_SHORT = ("of memory, over its limit", "for want of memory", "ran out of memory")  # what a guard then says


def assess(
    plan: Plan, out: Path, *, overwrite: bool = False, replay: Path | None = None, progress: Progress = SILENT
) -> Result:
    """As run.assess does, guarded where the plan names strangers' files; the result says how well it was guarded."""
    if not needs_guard(plan):
        return run.assess(plan, out, overwrite=overwrite, replay=replay, progress=progress)
    level = _guarded("assess", plan, out, overwrite=overwrite, replay=replay, progress=progress)[1]
    result = read_result(out)
    doubts = (*result.doubts, *_weak(level))
    result = result.model_copy(update={"provenance": {**result.provenance, "guard": list(level)}, "doubts": doubts})
    write_text(out / RESULT, result.model_dump_json(indent=1))
    return result


def craft_only(plan: Plan, out: Path, *, overwrite: bool = False, progress: Progress = SILENT) -> Manifest:
    """As run.craft_only does."""
    if not needs_guard(plan):
        return run.craft_only(plan, out, overwrite=overwrite, progress=progress)
    _guarded("craft", plan, out, overwrite=overwrite, progress=progress)
    return own_images(out / IMAGES)


def certify_only(plan: Plan, out: Path, *, overwrite: bool = False, progress: Progress = SILENT) -> Certified | None:
    """As run.certify_only does."""
    if not needs_guard(plan):
        return run.certify_only(plan, out, overwrite=overwrite, progress=progress)
    found = _guarded("certify", plan, out, overwrite=overwrite, progress=progress)[0]
    return None if found is None else said(Certified, found)


def needs_guard(plan: Plan) -> bool:
    """Whether a stranger's file is opened, and this process is not guarded yet."""
    return not inside() and any(not is_own(path) for path in networks(plan))


def work(
    what: Work, plan: Mapping[str, Any], out: str, overwrite: bool, replay: str | None, progress: Progress = SILENT
) -> dict[str, Any] | None:
    """What the guarded process does."""
    told, folder = Plan.model_validate(plan), Path(out)
    if what == "assess":
        run.assess(told, folder, overwrite=overwrite, replay=Path(replay) if replay else None, progress=progress)
    elif what == "craft":
        run.craft_only(told, folder, overwrite=overwrite, progress=progress)
    else:
        found = run.certify_only(told, folder, overwrite=overwrite, progress=progress)
        return None if found is None else found.model_dump(mode="json")
    return None


def _guarded(
    what: Work, plan: Plan, out: Path, *, overwrite: bool, progress: Progress, replay: Path | None = None
) -> tuple[Any, Sequence[str]]:
    if plan.model.endpoint is not None:
        raise BadPlan(
            "a guarded process has no network, so a service cannot be assessed together with strangers' model files; "
            "use surrogates that radproof trained"
        )
    arguments = {
        "what": what,
        "plan": plan.model_dump(mode="json"),
        "out": str(out.resolve()),
        "overwrite": overwrite,
        "replay": str(replay.resolve()) if replay else None,
    }
    read = [*of_plan(plan), *([replay] if replay else [])]
    with new_folder(out, kept=_dear(plan)):
        try:
            done = call("radproof.assess.sheltered:work", arguments, read=read, write=[out], progress=progress)
        except Interrupted:
            raise Interrupted(
                f"stopped; finished batches are kept in {out}, and the same command goes on from there"
            ) from None
    return done.value, done.level


def call(
    task: str,
    arguments: Mapping[str, Any],
    *,
    read: Sequence[Path],
    write: Sequence[Path],
    what: str = "the model file",
    blame: type[BadInput] = BadModel,
    progress: Progress = SILENT,
) -> Guarded:
    """A guarded call that may take as long as it needs, and as much memory as the environment says.

    `what` an error of the process is about, and `blame` its kind.
    """
    try:
        done = guarded(
            task,
            arguments,
            read=read,
            write=write,
            limits=Limits(memory=guard_memory(), cpu=None, wall=None),
            progress=progress,
            what=what,
            blame=blame,
        )
    except BadInput as error:
        if not any(words in str(error) for words in _SHORT):
            raise
        raise type(error)(f"{error}; {MEMORY} sets the limit, in gigabytes") from None
    for doubt in _weak(done.level):
        progress.note(f"Weak guard: {doubt.message}")
    return done


def said(kind: type[T], value: Any) -> T:
    """What a guarded process answered, with distrust. Raises BadModel for what is not in order."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError:
        raise BadModel("the model file was stopped: its answers are not in order; check where it is from") from None


@contextmanager
def new_folder(out: Path, kept: Collection[str] = ()) -> Generator[None]:
    """A folder for results; one made here is removed again on bad input, unless it holds one of `kept`."""
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file; choose another --out")
    fresh = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BadInput:
        if fresh and not any((out / name).exists() for name in kept):
            remove(str(out))
        raise


def _dear(plan: Plan) -> list[str]:
    """What the plan itself takes long to make; other folders were made by a stranger's file, to be kept."""
    trains = {
        "model": plan.model.train is not None,
        "surrogates": any(other.train is not None for other in plan.surrogates.values()),
        "hardened": any(other.train is not None or other.denoiser is not None for other in plan.hardened.values()),
    }
    return ["work/batches", *(name for name, trained in trains.items() if trained)]


def _weak(level: Sequence[str]) -> list[Doubt]:
    """Told where a stranger's file could have done more than compute."""
    if not (open_still := missing(level)):
        return []
    message = (
        f"{' and '.join(open_still)} could not be shut off on this machine while the model file was open; "
        f"{STRICT}=strict refuses to open files so"
    )
    return [Doubt(kind="weak-guard", about="all", message=message, severity="note")]
