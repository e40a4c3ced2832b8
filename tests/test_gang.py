"""Guests that migrate together and have contents in common."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim._kernels.encoding import FRAME_BYTES, REFERENCE_BYTES
from migsim.content import Content, ContentRule
from migsim.errors import InputError
from migsim.fleet.conductor import Conductor, Crossing
from migsim.fleet.together import run_together
from migsim.gang import Gang
from migsim.pages import Pages
from migsim.result import Result
from migsim.simulate import execute, run
from migsim.task import ResolvedTask, Task

IMAGE = 1024  # pages, of 4096
REFERENCE = FRAME_BYTES + REFERENCE_BYTES


def guest(seed: int = 0, algorithm: str = "dedup", **changes: Any) -> Task:
    content = {"content": "heap", "duplicate_fraction": 0.0, "image": IMAGE * 4096}
    given: dict[str, Any] = {
        "algorithm": algorithm,
        "workload": "idle",
        "workload_args": content | changes.pop("workload_args", {}),
        "memory": "16MiB",
        "link": "gigabit",
        "seed": seed,
    }
    return Task(**{**given, **changes})


def written(seed: int, rate: str = "20MB/s") -> Task:
    return guest(seed, workload="uniform", workload_args={"rate": rate, "working_set": "16MiB"})


def ride(tasks: list[tuple[float, Task]], *, alone: bool = False) -> list[Result]:
    """Run guests, each from its time on, launched in the order of the list; as a gang or not."""
    conductor, gang = Conductor({"a": 125e6}), None if alone else Gang()
    results: dict[int, Result] = {}

    def launch(number: int, task: ResolvedTask) -> None:
        crossing = Crossing(links=("a",), rate=task.link.rate)
        conductor.launch(
            crossing, lambda share: execute(task, None, share),
            lambda outcome: results.__setitem__(number, outcome.result), gang,
        )  # fmt: skip

    for number, (at, task) in enumerate(tasks):
        conductor.call_at(at, functools.partial(launch, number, task.resolve()))
    conductor.run()
    return [results[number] for number in range(len(tasks))]


def test_what_both_have_goes_once_and_then_as_references() -> None:
    tasks = [guest(1, memory="64MiB"), guest(2)]
    results = ride([(0.0, tasks[0]), (0.5, tasks[1])])
    alone = sum(run(task).payload_bytes for task in tasks)
    references, rest = divmod(
        alone - sum(result.payload_bytes for result in results), 4096 - REFERENCE
    )
    assert rest == 0
    assert references == sum(result.encoded_pages for result in results)
    # By 0.5 s the first has sent nearly all of its own; in one tick both may send the same page.
    assert results[1].encoded_pages > 0.8 * IMAGE
    assert 0.97 * IMAGE < references <= IMAGE


@pytest.mark.parametrize("task", [guest(3), written(4)], ids=["idle", "written"])
def test_a_gang_of_one_gives_the_very_numbers(task: Task) -> None:
    assert ride([(0.0, task)]) == [run(task)]


def test_without_a_gang_nobody_gains() -> None:
    tasks = [guest(seed).resolve() for seed in range(3)]
    apart, together = run_together(tasks), run_together(tasks, gang=Gang())
    assert {member.result.encoded_pages for member in apart} == {0}
    assert sum(member.result.encoded_pages for member in together) > 1.8 * IMAGE
    assert max(member.ended for member in together) < 0.9 * max(member.ended for member in apart)


def test_other_images_and_codecs_share_nothing() -> None:
    strangers = [guest(0), guest(1, workload_args={"image_seed": 1}),
                 guest(2, workload_args={"content": "text"}), guest(3, "precopy")]  # fmt: skip
    results = ride([(0.0, task) for task in strangers])
    assert [result.encoded_pages for result in results] == [0] * 4


@settings(max_examples=12, deadline=None)
@given(
    starts=st.lists(st.floats(0, 0.3), min_size=2, max_size=4),
    rates=st.lists(st.sampled_from(["1MB/s", "50MB/s"]), min_size=4, max_size=4),
    order=st.permutations(range(4)),
)
def test_the_order_of_turns_decides_nothing(
    starts: list[float], rates: list[str], order: list[int]
) -> None:
    """Nor is a page of the image left out by all, or a reference counted twice."""
    gang = [(at, written(seed, rates[seed])) for seed, at in enumerate(starts)]
    chosen = [number for number in order if number < len(gang)]
    results = ride(gang)
    again = ride([gang[number] for number in chosen])
    assert [results[number] for number in chosen] == again
    assert {result.status for result in results} == {"completed"}
    for result in results:
        whole = result.pages_sent - result.zero_pages - result.encoded_pages
        content = 4096 * whole + REFERENCE * result.encoded_pages + result.zero_pages
        assert result.payload_bytes == content + result.sent_bitmap + result.sent_device_state


def test_of_idle_guests_each_page_goes_once_at_least() -> None:
    results = ride([(0.0, guest(seed)) for seed in range(4)])
    assert sum(result.encoded_pages for result in results) <= 3 * IMAGE


def test_a_written_page_is_no_longer_the_image_s() -> None:
    """A writer goes over all memory in 8.4 ms; until then the first 128 pages have left."""
    late = guest(2, workload="sequential", workload_args={"rate": "2GB/s", "working_set": "16MiB"})
    result = ride([(0.0, guest(1, memory="64MiB")), (0.5, late)])[1]
    references, rest = divmod(4096 * 4096 - result.sent_first_copy, 4096 - REFERENCE)
    assert rest == 0
    assert 0 < references < 128


def test_nobody_knows_what_will_be_sent() -> None:
    gang = Gang()
    first, second = gang.join(0.0), gang.join(0.0)
    first.view("image", 100)[0] |= np.uint64(5)
    known = second.view("image", 100)
    assert not known.any()
    first.tell(2.0)
    second.learn(1.9)
    assert not known.any()
    second.learn(2.0)
    assert known[0] == 5
    second.tell(2.0)  # it has sent nothing itself
    assert gang.join(3.0).view("image", 100)[0] == 5
    assert not gang.join(3.0).view("another", 100).any()


@pytest.mark.parametrize(
    ("arguments", "vm_args", "message"),
    [
        ({"image": 5000}, {}, "image is .*, expected a multiple of 4 KiB"),
        ({"image": "9MiB"}, {"zero_fraction": 0.5}, "image is 9 MiB, expected at most 8 MiB"),
        ({}, {"memory_model": "bytes"}, "an image is given, expected none with memory_model=bytes"),
    ],
)
def test_images_that_cannot_be(
    arguments: dict[str, Any], vm_args: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(guest(workload_args=arguments, vm_args=vm_args))


def test_tasks_without_an_image_keep_their_keys() -> None:
    plain = guest(workload_args={"image": 0}).resolve().describe()["content"]
    assert not [name for name in plain if name.startswith("image")]
    with_image = guest().resolve().describe()["content"]
    assert (with_image["image"], with_image["image_seed"]) == (IMAGE * 4096, 0)


def test_an_image_is_whole_and_lies_where_no_zeros_are() -> None:
    """Each guest has it at places of its own, and pages of the same classes."""
    nonzero = Pages.range(1000, 4096, size=4096)
    rule = ContentRule(image=IMAGE * 4096, duplicate_fraction=0.0)
    guests = [Content(rule, guest().resolve().make_workload(), 4096, seed) for seed in (0, 1)]
    places = [content.place_image(nonzero) for content in guests]
    for held in places:
        assert sorted(held[held >= 0]) == list(range(IMAGE))
        assert (held[:1000] == -1).all()
    both = int(((places[0] >= 0) & (places[1] >= 0)).sum())
    assert both == pytest.approx(IMAGE**2 / 3096, rel=0.15)  # as chance has it
    classes = [content.image_classes() for content in guests]
    assert (classes[0] == classes[1]).all()
    assert len(set(classes[0])) > 3
