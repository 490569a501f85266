"""Children: what comes back, what is said when they die, and that none is ever left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgekit import jobs, scratch
from edgekit.errors import ChildError, ConversionError, DataError, UsageError
from edgekit.jobs import Job, Workers

HERE = Path(__file__).parent
PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setenv("EDGEKIT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("IMPORTS_OF_SLOW_IMPORT", str(tmp_path / "imports"))
    monkeypatch.setenv("RELEASE_OF_PATIENT_IMPORT", str(tmp_path / "release"))


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    with Workers(tmp_path, parallel=2) as opened:
        yield opened


def job(function: str, *preload: str, timeout_s: float = 60.0, **arguments: object) -> Job:
    return Job(f"{function} of a test", f"little_jobs:{function}", arguments, preload, timeout_s)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it becomes true; waits for that and no longer."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def processes_that_mention(text: str) -> list[int]:
    """Live processes with ``text`` in their command line; forks share it with their server."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if text.encode() in command and alive(int(folder.name)):
            found.append(int(folder.name))
    return found


def pids_in(path: Path) -> list[int]:
    assert eventually(path.exists)
    return [int(word) for word in path.read_text().split()]


def test_value(workers: Workers) -> None:
    assert workers.call(job("add", a=2, b=3)) == 5


def test_values_and_arguments_are_json(workers: Workers) -> None:
    value = {"text": "ä\n\u2028", "numbers": [1, 2.5, None, True], "nested": {"empty": {}}}
    assert workers.call(job("echo", value=value)) == value


def test_child_works_in_the_folder_of_the_command_and_imports_nothing_from_it(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "converters").mkdir()
    monkeypatch.chdir(tmp_path)
    found = workers.call(job("where"))
    assert found["cwd"] == str(tmp_path)
    assert found["pid"] != os.getpid()
    assert "" not in found["path"]
    assert str(tmp_path) not in found["path"]
    assert not found["frameworks"]


def test_edgekit_errors_cross_the_border_as_they_are(workers: Workers) -> None:
    with pytest.raises(DataError) as caught:
        workers.call(job("refuse"))
    assert type(caught.value) is DataError
    assert (caught.value.message, caught.value.hint, caught.value.log) == ("the data is blue", "paint it", "")


def test_other_exceptions_are_conversion_errors_with_the_log(workers: Workers) -> None:
    with pytest.raises(ConversionError, match="stumble of a test: ZeroDivisionError: one by none") as caught:
        workers.call(job("stumble"))
    assert not isinstance(caught.value, ChildError)
    log = Path(caught.value.log).read_text()
    assert "the last thing it said" in log
    assert "Traceback" in log


def test_system_exit_of_user_code_is_an_error(workers: Workers) -> None:
    with pytest.raises(ConversionError, match="SystemExit: enough"):
        workers.call(job("exit_politely"))


def test_a_value_that_is_not_json_is_an_error_that_says_so(workers: Workers) -> None:
    with pytest.raises(ConversionError, match=r"TypeError.*not JSON serializable"):
        workers.call(job("unserializable"))


def test_abort_names_the_signal_and_keeps_the_log(workers: Workers, tmp_path: Path) -> None:
    with pytest.raises(ChildError, match="abort of a test: the child process was killed by SIGABRT") as caught:
        workers.call(job("abort"))
    kept = Path(caught.value.log)
    assert kept.is_relative_to(tmp_path / "state" / "logs")
    log = kept.read_text()
    assert "about to abort" in log
    assert "little_jobs.py" in log  # faulthandler's stack


def test_each_failure_keeps_a_log_of_its_own(workers: Workers) -> None:
    with pytest.raises(ChildError) as first:
        workers.call(job("abort"))
    with pytest.raises(ChildError) as second:
        workers.call(job("abort"))
    assert first.value.log != second.value.log
    assert Path(first.value.log).is_file()


def test_kept_logs_are_limited(workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_KEPT_LOGS", 2)
    for _ in range(4):
        with pytest.raises(ChildError) as caught:
            workers.call(job("leave", code=3))
    left = sorted((tmp_path / "state" / "logs").iterdir())
    assert len(left) == 2
    assert Path(caught.value.log) in left


def test_exit_without_a_result_is_an_error(workers: Workers) -> None:
    with pytest.raises(ChildError, match="ended with exit code 0 and no result"):
        workers.call(job("leave", code=0))


def test_other_jobs_survive_a_death(workers: Workers, tmp_path: Path) -> None:
    release = tmp_path / "release"
    waiting = workers.submit(job("wait_for", path=str(release)))
    with pytest.raises(ChildError):
        workers.call(job("abort"))
    (tmp_path / "partial").write_text("still here")
    (tmp_path / "partial").rename(release)
    assert waiting.result() == "still here"
    assert workers.call(job("add", a=1, b=1)) == 2


def test_jobs_run_in_parallel(workers: Workers, tmp_path: Path) -> None:
    left, right = str(tmp_path / "left"), str(tmp_path / "right")
    first = workers.submit(job("meet", own=left, other=right))
    second = workers.submit(job("meet", own=right, other=left))
    assert first.result()
    assert second.result()


def test_no_more_jobs_at_a_time_than_asked_for(tmp_path: Path) -> None:
    awaited = str(tmp_path / "awaited")
    with Workers(tmp_path, parallel=1) as workers:
        first = workers.submit(job("wait_for", path=awaited, timeout_s=0.5))
        second = workers.submit(job("write", path=awaited, text="too late"))
        with pytest.raises(ChildError, match="time limit"):
            first.result()
        second.result()
    assert Path(awaited).read_text() == "too late"


def test_preload_is_paid_once(workers: Workers, tmp_path: Path) -> None:
    made = [
        workers.call(Job(f"job {number}", "slow_import:made_by", {}, ("slow_import",)))
        for number in range(3)
    ]  # fmt: skip
    imports = (tmp_path / "imports").read_text().split()
    assert len(imports) == 1
    assert {str(pid) for pid in made} == set(imports)


def test_a_longer_preload_grows_from_its_prefix(workers: Workers, tmp_path: Path) -> None:
    short = workers.call(Job("short", "slow_import:made_by", {}, ("slow_import",)))
    long = workers.call(Job("long", "slow_import:made_by", {}, ("slow_import", "wave")))
    assert short == long
    assert len((tmp_path / "imports").read_text().split()) == 1


def test_warm_up_begins_the_import_without_waiting_for_it(workers: Workers, tmp_path: Path) -> None:
    workers.warm_up(("stuck_import", "slow_import"))  # would never return, were it to wait
    workers.warm_up(("slow_import",))
    assert eventually((tmp_path / "imports").exists)
    workers.call(Job("later", "slow_import:made_by", {}, ("slow_import",)))
    assert len((tmp_path / "imports").read_text().split()) == 1


def test_what_cannot_be_preloaded_is_the_error_of_the_job(workers: Workers) -> None:
    with pytest.raises(ConversionError, match="No module named 'no_such_module'"):
        workers.call(Job("broken", "no_such_module:function", {}, ("no_such_module",)))


def test_time_limit_kills_the_job_and_all_it_started_in_its_group(workers: Workers, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(ChildError, match=r"stopped after its time limit of 3 s") as caught:
        workers.call(job("start_sleepers", pids=str(pids), wait=True, timeout_s=3.0))
    assert "--timeout" in caught.value.hint
    own, child, _ = pids_in(pids)
    assert eventually(lambda: not alive(own) and not alive(child))


def test_time_limit_counts_from_the_start_of_the_job(workers: Workers, tmp_path: Path) -> None:
    """Not from the import before it, which here ends when a file appears."""
    release = tmp_path / "release"
    waiting = workers.submit(Job("short", "slow_import:made_by", {}, ("patient_import", "slow_import"), timeout_s=1.0))
    with pytest.raises(TimeoutError):
        waiting.result(timeout=2.0)
    release.touch()
    assert waiting.result() > 0


def test_an_import_that_hangs_is_stopped_and_named(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_IMPORT_TIMEOUT_S", 0.1)
    with pytest.raises(ChildError, match=r"importing stuck_import for it took longer than 0\.5 s"):
        workers.call(Job("stuck", "little_jobs:where", {}, ("stuck_import",), timeout_s=0.5))
    assert workers.call(job("add", a=1, b=2)) == 3


def test_what_a_finished_job_forgot_is_killed(workers: Workers, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    assert workers.call(job("start_sleepers", pids=str(pids), wait=False)) == "started"
    _, child, session = pids_in(pids)
    assert eventually(lambda: not alive(child))
    workers.close()
    assert not alive(session)


def test_the_death_of_a_server_is_told_and_repaired(workers: Workers) -> None:
    with pytest.raises(ChildError, match="the process that had imported wave for it crashed or was killed"):
        workers.call(job("kill_server", "wave"))
    assert workers.call(job("add", "wave", a=4, b=4)) == 8


def test_the_death_of_the_first_server_is_told_and_repaired(workers: Workers) -> None:
    with pytest.raises(ChildError, match="the process that had imported Python for it"):
        workers.call(job("kill_server"))
    assert workers.call(job("add", a=4, b=4)) == 8


def test_close_leaves_no_process(tmp_path: Path) -> None:
    files = [tmp_path / "pids-1", tmp_path / "pids-2"]
    with Workers(tmp_path, parallel=2) as workers:
        futures = [
            workers.submit(job("start_sleepers", *preload, pids=str(file), wait=True))
            for file, preload in zip(files, ((), ("wave",)), strict=True)
        ]
        pids = [pid for file in files for pid in pids_in(file)]
        assert all(map(alive, pids))
        servers = processes_that_mention(str(tmp_path))
        assert len(servers) >= 2 + len(files)
    assert not any(map(alive, (*pids, *servers)))
    assert not processes_that_mention(str(tmp_path))
    for future in futures:
        with pytest.raises(ChildError, match="cancelled"):
            future.result()


def test_close_does_not_wait_for_imports(tmp_path: Path) -> None:
    with Workers(tmp_path) as workers:
        workers.warm_up(("stuck_import", "wave"))
        waiting = workers.submit(job("where", "stuck_import", "wave"))
        servers = processes_that_mention(str(tmp_path))
        assert servers
    assert not any(map(alive, servers))
    with pytest.raises(ChildError, match="cancelled"):
        waiting.result()


def test_nothing_starts_after_close(tmp_path: Path) -> None:
    workers = Workers(tmp_path)
    workers.close()
    with pytest.raises(ChildError, match="cancelled"):
        workers.warm_up(())
    assert not processes_that_mention(str(tmp_path))


def test_close_ends_what_background_work_waits_for(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    with Workers(tmp_path) as workers:

        def wait() -> int:
            with workers.ended_by_close(child.kill):
                started.touch()
                return child.wait()

        started = tmp_path / "started"
        future = workers.background(wait)
        assert eventually(started.exists)
    assert future.result() == -signal.SIGKILL


def test_a_parent_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    """Servers, jobs, what jobs started, and a server in the middle of an import."""
    pids = tmp_path / "pids"
    script = tmp_path / "command.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from edgekit.jobs import Job, Workers\n"
        "scratch, pids = map(Path, sys.argv[1:])\n"
        "workers = Workers(scratch, parallel=2)\n"
        "arguments = {'pids': str(pids), 'wait': True}\n"
        "workers.submit(Job('stuck', 'little_jobs:where', {}, ('stuck_import',)))\n"
        "workers.call(Job('sleepers', 'little_jobs:start_sleepers', arguments, ('wave',)))\n"
    )
    command = subprocess.Popen([sys.executable, str(script), str(tmp_path), str(pids)])
    started = pids_in(pids)
    family = set(processes_that_mention(str(tmp_path))) | set(started)
    assert len(family) >= 1 + 3 + 3  # the command; three servers; the job and its two children
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    assert eventually(lambda: not any(map(alive, family)))
    assert not processes_that_mention(str(tmp_path))


@pytest.mark.parametrize("function", ["fill_disk", "refuse_with_a_cause"])
def test_a_full_disk_in_a_child_is_a_usage_error_that_names_tmpdir(workers: Workers, function: str) -> None:
    with pytest.raises(UsageError, match="disk that holds temporary files is full") as caught:
        workers.call(job(function))
    assert "TMPDIR=" in caught.value.hint


def test_a_full_disk_in_the_command_is_a_usage_error_that_names_tmpdir(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="disk that holds temporary files is full") as caught, scratch.scratch_folder():
        raise OSError(28, "No space left on device", "x.npy")
    assert "TMPDIR=" in caught.value.hint


def test_no_place_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(**_: object) -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(scratch.tempfile, "mkdtemp", nowhere)
    with pytest.raises(UsageError, match="No temporary folder can be made") as caught, scratch.scratch_folder():
        pass
    assert "TMPDIR=" in caught.value.hint


def test_other_errors_of_the_body_pass_through_the_scratch_folder() -> None:
    with pytest.raises(PermissionError), scratch.scratch_folder() as folder:
        raise PermissionError(13, "Permission denied", "x")
    assert not folder.exists()


@pytest.mark.parametrize("function", ["write_until_full", "write_until_aborted"])
def test_a_disk_that_is_really_full(tiny_disk: Path, function: str) -> None:
    with Workers(tiny_disk) as workers, pytest.raises(UsageError, match="full") as caught:
        workers.call(job(function, path=str(tiny_disk / "much")))
    assert str(tiny_disk.parent) in caught.value.message


def test_interrupt_during_close_does_not_break_it_off(tmp_path: Path) -> None:
    workers = Workers(tmp_path)
    workers.call(job("add", a=1, b=1))
    servers = processes_that_mention(str(tmp_path))

    def impatient() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with workers.ended_by_close(impatient):
        workers.close()
    assert servers
    assert not any(map(alive, servers))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
