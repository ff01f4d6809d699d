#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kvkill.py KV DIR KILLS SEED - kills a store under load by SIGKILL, KILLS times, and looks each time at what is left

A run of `kv load --tell` is killed at a random instant: while it starts, while it makes up for the run that was killed before, inside
of a commit or between two. Then `kv verify` has to find a whole store; its last commit has to be the last one that was acknowledged, or the
one after it, which was under way; and `kv scan` has to print exactly what the lines up to that commit make. The next run goes on from
there with the same file. The memory is a fraction of what a thousand lines change, so that pages have to leave it uncommitted. What comes is
decided by SEED, but for the instants.
"""
import os
import random
import re
import subprocess
import sys
import time

LINES = 3000  # for one run; seldom used up
KEYS = 1200


def fail(text):
    sys.exit(f"kvkill.py: {text}")


class Lines:
    """What is loaded: lines without an end, the same for each seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.at = 0
        self.ahead = []

    def line(self):
        choice = self.random.random()
        key = f"key{self.random.randrange(KEYS)}" + "x" * self.random.choice((0, 0, 0, 20, 200))
        if choice < 0.3:
            return key
        return f"{key}\tvalue {self.at + len(self.ahead)}" + "v" * self.random.choice((0, 10, 100, 900))

    def next(self, count):
        while len(self.ahead) < count:
            self.ahead.append(self.line())
        return self.ahead[:count]

    def skip(self, count):
        self.at += count
        del self.ahead[:count]


def ask(kv, store, command):
    done = subprocess.run([kv, store, command], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    if done.returncode != 0:
        fail(f"{command} ended with {done.returncode}: {done.stderr.decode()}")
    return done.stdout.decode()


def run_and_kill(kv, store, lines, commit_every, seconds):
    """Numbers of the commits that were acknowledged, and whether the run was killed before its end."""
    with open(store + ".lines", "w", encoding="ascii") as out:
        out.write("".join(line + "\n" for line in lines))
    with open(store + ".lines", "rb") as stdin, open(store + ".acks", "w+b") as acks:
        command = [kv, store, "load", "--tell", "--commit-every", str(commit_every)]
        with subprocess.Popen(command, stdin=stdin, stdout=acks, stderr=subprocess.PIPE) as child:
            time.sleep(seconds)
            child.kill()
            errors = child.stderr.read().decode()
        if child.returncode not in (0, -9):
            fail(f"load ended with {child.returncode}: {errors}")
        acks.seek(0)
        told = re.findall(rb"^commit (\d+): \d+ lines\n", acks.read(), re.MULTILINE)
    return [int(number) for number in told], child.returncode != 0


def look(kv, store, told, before):
    """The number of the last commit, which is the last that was told or the next one."""
    found = re.match(r"OK: commit (\d+),", ask(kv, store, "verify"))
    if not found:
        fail("verify does not name a commit")
    last = told[-1] if told else before
    if told and told != list(range(before + 1, last + 1)):
        fail(f"commits are not told one by one from {before + 1} on: {told[0]} to {last}, {len(told)} of them")
    if int(found[1]) not in (last, last + 1):
        fail(f"commit {last} was acknowledged, and the store is at commit {found[1]}")
    return int(found[1])


def apply(model, lines):
    for line in lines:
        key, tab, value = line.partition("\t")
        if tab:
            model[key] = value
        else:
            model.pop(key, None)


def compare(kv, store, model, commit):
    found = ask(kv, store, "scan")
    expected = "".join(f"{key}\t{model[key]}\n" for key in sorted(model))
    if found != expected:
        for left, right in zip(found.splitlines() + [""], expected.splitlines() + [""]):
            if left != right:
                fail(f"as of commit {commit} the store has\n  {left[:100]}\nwhere\n  {right[:100]}\nwas committed")


def start_seconds(kv, store, lines):
    begin = time.monotonic()
    with open(os.devnull, encoding="ascii") as stdin:
        subprocess.run([kv, store, "load"], stdin=stdin, check=True, timeout=60)
    return time.monotonic() - begin


def main():
    kv, folder, kills, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    store = os.path.join(folder, "store")
    os.environ["QUIRE_MEMORY"] = "2M"
    lines, dice, model = Lines(seed), random.Random(seed + 1), {}
    longest = 2 * start_seconds(kv, store, lines) + 0.03
    commit, killed, commits, runs = look(kv, store, [], 0), 0, 0, 0
    while killed < kills:
        commit_every, load = dice.choice((1, 3, 20, 100, 1000)), lines.next(LINES)
        told, was_killed = run_and_kill(kv, store, load, commit_every, dice.uniform(0, longest))
        last = look(kv, store, told, commit)
        count = min((last - commit) * commit_every, LINES)
        apply(model, load[:count])
        compare(kv, store, model, last)
        lines.skip(count)
        runs, killed, commits, commit = runs + 1, killed + was_killed, commits + last - commit, last
        if runs == 20 * kills:
            fail(f"of {runs} runs only {killed} were still running when they were to be killed")
    print(f"seed {seed}: {killed} kills, {commits} commits, {len(model)} pairs, commit {commit}")


main()
