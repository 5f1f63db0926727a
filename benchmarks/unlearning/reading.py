"""What the rows say in sentences: where the default method falls short, and what a bar can tell."""

from collections.abc import Sequence

from benchmarks.unlearning.rows import Row
from benchmarks.unlearning.summary import Answer, Field

_ALLOWED = 0.99
_HALF = {"full": 0.5, "partial": 0.4}
"""Of the strongest baseline's UIS, as the bars ask."""


def reading(found: Sequence[Field]) -> str:
    """A list in Markdown; empty where the default method has no row."""
    answered = [field for field in found if field.ours is not None]
    if not answered:
        return ""
    points = [
        _against_retraining(answered),
        _room(answered),
        _unfair(answered),
        _damage(answered),
        _verdicts(answered),
        _clocks(answered),
    ]
    return "".join(f"- {point}\n" for point in points if point)


def _against_retraining(found: Sequence[Field]) -> str:
    pairs = [
        (field, ours.uis.mean, retrain.uis.mean)
        for field in found
        if (ours := field.ours) and (retrain := field.retrain) and ours.uis and retrain.uis
    ]
    below = sum(mine <= whole for _, mine, whole in pairs)
    above = [
        f"{field.question.title} ({mine:.1f} against {whole:.1f})"
        for field, mine, whole in pairs
        if mine > whole
    ]
    text = f"The default method's UIS is at or below retraining's own in {below} of {len(pairs)}."
    return text + (f" It is above in: {'; '.join(above)}." if above else "")


def _room(found: Sequence[Field]) -> str:
    """How often the ratio bars ask for less than retraining's own distance."""
    pairs = [
        (_HALF[field.question.scope] * rival.uis.mean, retrain.uis.mean)
        for field in found
        if (rival := field.strongest) and (retrain := field.retrain) and rival.uis and retrain.uis
    ]
    if not pairs:
        return ""
    beyond = sum(asked < whole for asked, whole in pairs)
    return (
        f"Where a baseline qualifies, the share of its UIS that bars 1 and 2 ask for is less than"
        f" what retraining itself leaves in {beyond} of {len(pairs)}: there a bar is met only by a"
        " network that is nearer to the ideal than a retrained one."
    )


def _unfair(found: Sequence[Field]) -> str:
    unclear = [
        field.question.title
        for field in found
        if field.retrain and not any(row.verdict == "pass" for row in field.retrain.rows)
    ]
    if not unclear:
        return ""
    return (
        f"The audit passes no retrained network in: {'; '.join(unclear)}. Its samples are too small"
        " to decide there, or training on less data loses quality by itself, or the held-out data"
        " are no fair reference for what is forgotten, as other people's are none for some records"
        " of a person who stays. Where the reference is unfair, UIS and AUC measure the distance to"
        " it, which retraining keeps as well: a lower value is no merit."
    )


def _damage(found: Sequence[Field]) -> str:
    short = []
    for field in found:
        ours = field.ours
        assert ours is not None
        allowed = field.retrain.kept_by_task() if field.retrain else {}
        for task, share in ours.kept_by_task().items():
            if share < min(_ALLOWED, allowed.get(task, _ALLOWED)):
                short.append(f"{share:.1%} on {task} ({field.question.title})")
    if not short:
        return "It keeps what bar 3 asks for everywhere."
    return f"It keeps less of the retain quality than bar 3 asks for in: {'; '.join(short)}."


def _verdicts(found: Sequence[Field]) -> str:
    open_ = []
    for field in found:
        ours = field.ours
        assert ours is not None
        if any(row.verdict != "pass" for row in ours.rows):
            retrained = _counted(field.retrain) if field.retrain else "not measured"
            open_.append(f"{field.question.title}: {_counted(ours)} (retrained: {retrained})")
    return f"Its audits that do not all pass: {'; '.join(open_)}." if open_ else ""


def _counted(answer: Answer) -> str:
    verdicts = [row.verdict for row in answer.rows]
    kinds = ("pass", "fail", "inconclusive")
    return ", ".join(f"{verdicts.count(kind)} {kind}" for kind in kinds if kind in verdicts)


def _clocks(found: Sequence[Field]) -> str:
    rows: list[Row] = [row for field in found for a in field.answers.values() for row in a.rows]
    wall = sum(row.clock == "wall" for row in rows)
    if not wall:
        return ""
    return (
        f"{wall} of {len(rows)} rows were timed by the wall clock of a machine that had other work:"
        " their shares of retraining's time are rough."
    )
