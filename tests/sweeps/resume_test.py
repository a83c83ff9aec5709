"""kill -9 of a random rank at a random moment: what was finished stays, nothing is done twice, the results are the same.

--kills N trials from --seed; the moments are uniform over the measured duration of an undisturbed run on as many ranks.
"""

import os
import random
import signal
import time

import harness
import run_file


def descendants(pid):
    """Processes below pid that run the program itself."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = open(f"/proc/{entry}/stat").read().rsplit(")", 1)[1].split()
                children.setdefault(int(fields[1]), []).append(int(entry))
            except OSError:
                pass
    found, todo = [], [pid]
    while todo:
        at = todo.pop()
        todo += children.get(at, [])
        try:
            if os.path.basename(os.readlink(f"/proc/{at}/exe")) == "bitgrid":
                found.append(at)
        except OSError:
            pass
    return sorted(found)


def wait_gone(process):
    try:
        process.wait(timeout=60)
    except Exception:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def stored_layers(out):
    return {(p.parent.name, p.name) for p in out.glob("cells/*/layer-*.h5")}


def main():
    arguments = harness.parse_arguments(kills=4, seed=1, sweep="")
    bitgrid, check, dice = harness.Bitgrid(arguments.bitgrid), harness.Check(), random.Random(arguments.seed)
    with harness.Folder() as folder:
        sweep = arguments.sweep or harness.small_sweep(folder, windows=32)
        base, duration = folder / "base", {}
        for ranks in [1, 2, 3, 4]:
            started = time.monotonic()
            run = bitgrid.run(["sweep", sweep, "--out", base], ranks=ranks)
            duration[ranks] = time.monotonic() - started
            check.equal(run.returncode, 0, f"the undisturbed run on {ranks} ranks: {run.stderr[-300:]}")
            if ranks < 4:
                harness.shutil.rmtree(base)
        expected = len(stored_layers(base))
        killed = after_first_layer = 0
        for trial in range(arguments.kills):
            out, ranks = folder / f"kill{trial}", dice.choice([1, 2, 3, 4])
            process = bitgrid.start(["sweep", sweep, "--out", out], ranks=ranks)
            moment = dice.uniform(0, duration[ranks])
            time.sleep(moment)
            victims = descendants(process.pid)
            killed += bool(victims)
            if victims:
                os.kill(dice.choice(victims), signal.SIGKILL)
            wait_gone(process)
            finished = stored_layers(out)
            after_first_layer += bool(victims and finished)
            what = f"trial {trial}: {ranks} ranks, " \
                f"{'killed' if victims else 'had ended'} after {moment:.2f} of {duration[ranks]:.2f} s, {len(finished)} layers finished"
            print(what, flush=True)
            if out.exists() and (out / "run.h5").exists():
                sound = bitgrid.run(["check", out])
                check.equal(sound.returncode, 0, what + ": check: " + sound.stdout[-300:])
            again = bitgrid.run(["sweep", sweep, "--out", out], ranks=dice.choice([1, 2, 3, 4]))
            check.equal(again.returncode, 0, what + ": resumed: " + again.stderr[-300:])
            if again.returncode == 0:
                done = sum(sum(c["layers_quantized"]) for c in run_file.counters(out))
                check.equal(done, expected - len(finished), what + ": layers quantized by the resumed run")
            complete = bitgrid.run(["check", out, "--complete"])
            check.equal(complete.returncode, 0, what + ": check --complete: " + complete.stdout[-300:])
            diff = bitgrid.run(["diff", base, out])
            check.equal((diff.returncode, diff.stdout.strip()), (0, "identical"), what)
        print(f"{arguments.kills} trials, {killed} kills, {after_first_layer} after the first finished layer")
        check.that(killed > 0, "no trial killed anything")
        once_more = bitgrid.run(["sweep", sweep, "--out", base])
        check.equal(once_more.returncode, 0, "a finished sweep, run again")
        check.equal(sum(sum(c["layers_quantized"]) for c in run_file.counters(base)), 0, "it does nothing")
    check.finish()


if __name__ == "__main__":
    main()
