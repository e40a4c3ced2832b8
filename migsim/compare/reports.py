"""A comparison as text for people, Markdown for pull requests, and JUnit's XML for machines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal
from xml.etree import ElementTree

from migsim.compare.measures import MEASURES
from migsim.compare.verdicts import LEVEL, Change, Comparison
from migsim.compare.words import HEADINGS, places, sentence, share, summary

__all__ = ["FORMATS", "Format", "junit", "markdown", "text"]

Format = Literal["text", "markdown", "junit"]


def text(comparison: Comparison) -> str:
    """Return the comparison as plain text; a line for each finding begins with its algorithm."""
    lines = [f"BASE is {comparison.base}, HEAD is {comparison.head}", summary(comparison)]
    if comparison.broken:
        lines += ["", "Broken", *(finding.sentence for finding in comparison.broken)]
    for verdict, heading in HEADINGS:
        chosen = comparison.of(verdict)
        if chosen:
            lines += ["", heading]
        for change in chosen:
            lines += [sentence(change), f"    {places(change)}"]
    if comparison.notes:
        lines += ["", "Notes", *comparison.notes]
    if comparison.changes and comparison.unchanged:
        lines += ["", f"no difference: {', '.join(comparison.unchanged)}"]
    return "\n".join(lines) + "\n"


# ---- Markdown -----------------------------------------------------------------------------------

_SIGNS = {"worse": "🔴 worse", "better": "🟢 better", "unclear": "not significant",
          "within": "within the threshold"}  # fmt: skip


def markdown(comparison: Comparison) -> str:
    """Return the comparison for a job summary or a comment: a line, a table, and folded details."""
    mark = "❌" if comparison.status else "✅"
    lines = [f"{mark} **migsim compare**: {_escaped(summary(comparison))}", ""]
    lines += [f"- ❌ {_escaped(finding.sentence)}" for finding in comparison.broken]
    lines += [""] if comparison.broken else []
    if comparison.changes:
        lines += ["| algorithm | change | 95 % interval | p | blocks | verdict |",
                  "|---|---|---|---|---|---|"]  # fmt: skip
        lines += [_table_row(change) for change in comparison.changes] + [""]
    details = [f"BASE: {comparison.base}  ", f"HEAD: {comparison.head}", "", *_method(comparison)]
    if comparison.changes:
        details += ["", "Where:", ""]
        details += [
            f"- {change.algorithm}, {change.measure.noun}: {places(change)}; "
            f"rank-biserial correlation {change.effect:+.2f}"
            for change in comparison.changes
        ]
    if comparison.notes:
        details += ["", "Notes:", "", *(f"- {note}" for note in comparison.notes)]
    if comparison.unchanged:
        details += ["", f"No difference: {', '.join(comparison.unchanged)}"]
    folded = [_escaped(line) for line in details]
    lines += ["<details><summary>Details</summary>", "", *folded, "", "</details>"]
    return "\n".join(lines) + "\n"


def _table_row(change: Change) -> str:
    told = sentence(change)
    head, _, evidence = told.removesuffix(")").partition(" (")
    interval, p, blocks = evidence.rsplit(", ", 2)
    cells = [change.algorithm, head.removeprefix(f"{change.algorithm}: "),
             interval.removeprefix("95 % interval "), p.removeprefix("p ").removeprefix("= "),
             blocks.partition(" ")[0], _SIGNS[change.verdict]]  # fmt: skip
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _method(comparison: Comparison) -> list[str]:
    limits = ", ".join(
        f"{measure.noun} {share(comparison.thresholds[measure.name])} %" for measure in MEASURES
    )
    return [
        "Ratios are geometric means over blocks (a scenario and a seed); p is that of the "
        "sign-flip test, corrected by Holm for all changes. Worse or better is what is significant "
        f"at {share(LEVEL)} % and beyond the threshold: {limits}."
    ]


def _escaped(line: str) -> str:
    # A name of a guest or an error must not become mark-up or break a table.
    for sign in ("\\", "|", "`", "*", "_", "<", "["):
        line = line.replace(sign, f"\\{sign}")
    return line


# ---- JUnit --------------------------------------------------------------------------------------


def junit(comparison: Comparison) -> str:
    """Return the comparison as JUnit's XML: a test case for each algorithm and measure.

    What is worse or broken is a failure with its sentence; what is broken about an algorithm is
    told in a case of its own, ``results``. A change in nothing that is compared is told there too.
    """
    cases: list[tuple[str, str, list[str], list[str]]] = []
    subjects = dict.fromkeys(
        [*comparison.algorithms, *(finding.subject for finding in comparison.broken), "claims"]
    )
    changes = {(change.algorithm, change.measure.name): change for change in comparison.changes}
    for subject in subjects:
        own = [each.sentence for each in comparison.broken if each.subject == subject]
        other = ["changed, but in none of the compared measures"]
        told = other if subject in comparison.elsewhere else []
        cases.append((subject, "results" if subject != "claims" else "hold", own, told))
        for measure in MEASURES if subject in comparison.algorithms else ():
            change = changes.get((subject, measure.name))
            failures, told = [], []
            if change is not None:
                told = [sentence(change), places(change)]
                failures = told[:1] if change.verdict == "worse" else []
            cases.append((subject, measure.noun, failures, told))
    failed = sum(bool(failures) for _, _, failures, _ in cases)
    counts = {"tests": str(len(cases)), "failures": str(failed), "errors": "0", "skipped": "0"}
    root = ElementTree.Element("testsuites", {"name": "migsim compare", **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": "migsim compare", **counts})
    for subject, name, failures, told in cases:
        case = ElementTree.SubElement(suite, "testcase", {"classname": subject, "name": name})
        if failures:
            message = {"message": "; ".join(failures), "type": "worse" if told else "broken"}
            ElementTree.SubElement(case, "failure", message).text = "\n".join(told or failures)
        elif told:
            ElementTree.SubElement(case, "system-out").text = "\n".join(told)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "text": text,
    "markdown": markdown,
    "junit": junit,
}
