"""Jobs: progress, the log ring, cancel, and what is left when one fails."""

from __future__ import annotations

import asyncio

import pytest

from jupyter_mlenv.engines.model import Progress
from jupyter_mlenv.environments.job import JOB_LOG_LINES, Job, JobKind, JobState
from jupyter_mlenv.environments.jobs import FINISHED_JOBS_KEPT, Jobs
from jupyter_mlenv.environments.model import Environment, State
from jupyter_mlenv.errors import DiskFull, EnvironmentBusy, JobCancelled, JobNotFound, MlenvError

DONE = Environment("p-1", "p", "P", "", "me", "/w", State.RUNNING, "image")


async def test_a_job_ends_with_its_environment():
    async def work(job: Job) -> Environment:
        job.progress(Progress("pull", "Pulling", 1, 4, "bytes"))
        return DONE

    job = await Jobs().start(JobKind.START, "p-1", work)
    assert await job.wait() == DONE
    assert job.to_json()["state"] == "done"


async def test_a_failed_job_keeps_its_error_and_raises_it():
    async def work(job: Job) -> Environment:
        raise DiskFull("No space left.", hint="Make room.")

    job = await Jobs().start(JobKind.START, "p-1", work)
    with pytest.raises(DiskFull):
        await job.wait()
    assert job.to_json()["error"]["code"] == "disk_full"
    assert job.state == "failed"


async def test_a_bug_in_the_work_ends_the_job_where_a_person_looks():
    async def work(job: Job) -> Environment:
        raise ZeroDivisionError("oops")

    job = await Jobs().start(JobKind.START, "p-1", work)
    await job.ended()
    assert job.state == "failed"
    assert "oops" in job.to_json()["error"]["message"]


async def test_cancel_ends_the_work_after_its_cleanup():
    cleaned = []

    async def work(job: Job) -> Environment:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(True)
        return DONE

    jobs = Jobs()
    job = await jobs.start(JobKind.START, "p-1", work)
    await asyncio.sleep(0)
    job.cancel()
    with pytest.raises(JobCancelled):
        await job.wait()
    assert cleaned == [True]
    assert job.state == "cancelled"
    assert jobs.running("p-1") is None


async def test_a_job_cancelled_before_its_first_step_ends_and_lets_the_next_one_run():
    began = []

    async def work(job: Job) -> Environment:
        began.append(job)
        return DONE

    jobs = Jobs()
    job = await jobs.start(JobKind.RESTART, "p-1", work)
    told: list[str] = []
    jobs.listen(lambda changed: told.append(changed.state))
    job.cancel()
    with pytest.raises(JobCancelled):
        await asyncio.wait_for(job.wait(), 10)
    assert (job.state, began) == ("cancelled", [])
    assert job.to_json()["error"]["code"] == "job_cancelled"
    assert told == ["cancelled"], "whoever listens hears of the end"
    following = [lines async for _, lines in job.follow()]
    assert following == [[]]
    again = await jobs.start(JobKind.START, "p-1", work)
    assert again is not job
    assert await again.wait() == DONE


async def test_two_starts_of_one_environment_share_a_job():
    started = []

    async def work(job: Job) -> Environment:
        started.append(job)
        await asyncio.sleep(0.01)
        return DONE

    jobs = Jobs()
    first, second = await jobs.start(JobKind.START, "p-1", work), await jobs.start(JobKind.START, "p-1", work)
    assert first is second
    await first.wait()
    assert len(started) == 1
    assert await jobs.start(JobKind.START, "p-1", work) is not first
    await jobs.close()


async def test_a_cancelled_waiter_does_not_cancel_the_job():
    async def work(job: Job) -> Environment:
        await asyncio.sleep(0.05)
        return DONE

    job = await Jobs().start(JobKind.START, "p-1", work)
    waiter = asyncio.create_task(job.wait())
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert await job.wait() == DONE


async def test_a_follower_that_comes_late_gets_every_line_that_is_kept():
    go = asyncio.Event()

    async def work(job: Job) -> Environment:
        for number in range(JOB_LOG_LINES + 10):
            job.log(f"line {number}")
        await go.wait()
        job.log("last")
        return DONE

    job = await Jobs().start(JobKind.START, "p-1", work)
    await asyncio.sleep(0)
    lines: list[str] = []
    async for _, new in job.follow():
        lines += new
        go.set()
    assert lines[0] == "line 10"
    assert lines[-1] == "last"
    assert len(lines) == JOB_LOG_LINES + 1
    assert job.since(JOB_LOG_LINES + 10) == (JOB_LOG_LINES + 10, ["last"])
    assert job.since(JOB_LOG_LINES + 11) == (JOB_LOG_LINES + 11, [])


async def test_close_cancels_what_runs():
    async def work(job: Job) -> Environment:
        await asyncio.sleep(60)
        return DONE

    jobs = Jobs()
    job = await jobs.start(JobKind.START, "p-1", work)
    await asyncio.sleep(0)
    await jobs.close()
    assert job.state == "cancelled"


def test_an_unknown_job_is_an_error_with_a_code():
    with pytest.raises(JobNotFound) as caught:
        Jobs().get("nope")
    assert isinstance(caught.value, MlenvError)
    assert caught.value.status == 404


async def test_the_end_of_a_phase_is_told_however_fast_it_came() -> None:
    jobs, told = Jobs(), []
    jobs.listen(lambda job: told.append(job.current))
    last = Progress("pull", "Pulling", 9, 9, "bytes")

    async def work(job: Job) -> Environment:
        for number in range(9):
            job.progress(Progress("pull", "Pulling", number, 9, "bytes"))
        job.progress(last)
        job.progress(Progress("create", "Creating the container"))
        return DONE

    await (await jobs.start(JobKind.START, "e", work)).wait()
    assert last in told
    assert [progress.phase for progress in told if progress.phase != "queued"][-2:] == ["create", "done"]
    assert len([progress for progress in told if progress.phase == "pull"]) < 9


async def _endless(job: Job) -> Environment:
    await asyncio.sleep(60)
    return DONE


@pytest.mark.parametrize(
    ("running", "asked", "joined"),
    [
        ("start", "start", True),
        ("restart", "start", True),
        ("recreate", "start", True),
        ("restart", "restart", True),
        ("recreate", "recreate", True),
        ("start", "restart", False),
        ("recreate", "restart", False),
        ("start", "recreate", False),
        ("restart", "recreate", False),
    ],
)
async def test_a_job_is_joined_by_what_it_ends_with_and_refuses_all_else(
    running: str, asked: str, joined: bool
) -> None:
    jobs = Jobs()
    job = await jobs.start(JobKind(running), "p-1", _endless)
    if joined:
        assert await jobs.start(JobKind(asked), "p-1", _endless) is job
    else:
        with pytest.raises(EnvironmentBusy) as caught:
            await jobs.start(JobKind(asked), "p-1", _endless)
        assert caught.value.status == 409
        assert caught.value.details == {"environment": "p-1", "job": job.id}
        assert "p-1" in caught.value.message
    assert await jobs.start(JobKind(asked), "p-2", _endless) is not job
    await jobs.close()


async def test_what_is_made_anew_is_made_by_one_plan() -> None:
    jobs = Jobs()
    await jobs.start(JobKind.RECREATE, "p-1", _endless, plan_hash="a")
    with pytest.raises(EnvironmentBusy, match="made anew with other options just now"):
        await jobs.start(JobKind.RECREATE, "p-1", _endless, plan_hash="b")
    await jobs.close()


async def test_a_start_waits_for_the_end_of_a_job_that_was_cancelled() -> None:
    cleaned = asyncio.Event()

    async def slow_to_end(job: Job) -> Environment:
        try:
            await asyncio.sleep(60)
        finally:
            await cleaned.wait()
        return DONE

    jobs = Jobs()
    first = await jobs.start(JobKind.START, "p-1", slow_to_end)
    await asyncio.sleep(0)
    first.cancel()
    again = [asyncio.ensure_future(jobs.start(JobKind.START, "p-1", _endless)) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert not any(one.done() for one in again)
    cleaned.set()
    second, third = await asyncio.gather(*again)
    assert second is third is not first
    assert (first.state, second.state) == (JobState.CANCELLED, JobState.RUNNING)
    await jobs.close()


async def test_of_a_thousand_jobs_the_last_ones_are_kept() -> None:
    async def work(job: Job) -> Environment:
        return DONE

    jobs = Jobs()
    for number in range(1000):
        await (await jobs.start(JobKind.START, f"p-{number}", work)).wait()
    kept = [job.environment for job in jobs.all()]
    assert kept == [f"p-{number}" for number in range(1000 - FINISHED_JOBS_KEPT, 1000)]


async def test_one_that_took_longer_than_a_thousand_others_can_still_be_read() -> None:
    go = asyncio.Event()

    async def build(job: Job) -> Environment:
        await go.wait()
        return DONE

    async def work(job: Job) -> Environment:
        return DONE

    jobs = Jobs()
    slow = await jobs.start(JobKind.START, "slow", build)
    for number in range(1000):
        await (await jobs.start(JobKind.START, f"p-{number}", work)).wait()
    go.set()
    await slow.wait()
    assert jobs.get(slow.id) is slow
