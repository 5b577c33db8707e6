#!/usr/bin/env python3
"""That `make cuda-check` tells the truth: with programs in the place of icd, cuDNN and the timing program that fail in every
way, and, where check_device_test.py BUILD EXE names a build with EMULATE=1, from end to end on the emulated device."""
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
NET = ["image=3x8x8", "multiscale=off", "arch=conv 16 | down 16 | swish | mean | dense 1"]
BENCH = {"batch": 2, "part": 2, "steps": 1, "bytes": 1 << 20, "parameters": 1,
         "rows": [{"what": "iteration", "ms": 3.0, "gflops": 1.0}]}
TIMES = {"rows": [{"slot": "conv_fwd", "shape": "2 16x8x8>16x8x8 k3", "calls": 4, "us": 500.0},
                  {"slot": "langevin", "shape": "n2 192", "calls": 1, "us": 1000.0}]}
EVIDENCE = """# Evidence
## Calls
In words.

| slot | shape | calls | A100 fp32 | H100 fp32 | H100 tf32 | H100 bf16 |
| --- | --- | --- | --- | --- | --- | --- |
| conv_fwd | 2 16x8x8>16x8x8 k3 | 4 | 1 | 250 | 50 | - |
| langevin | n2 192 | 1 | 1 | - | 1000 | - |
## Iteration
| device | precision | total ms |
| --- | --- | --- |
| H100 | fp32 | 1.5 |
"""
passed = failed = 0


def check(what, right, report=""):
    global passed, failed
    passed, failed = passed + bool(right), failed + (not right)
    if not right:
        print(f"not so: {what}\n{report}")


def run(arguments, **environment):
    return subprocess.run([sys.executable, "-B", os.path.join(HERE, "check_device.py")] + arguments, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, env=dict(os.environ, **environment), check=False)


def cuda_check(folder, *arguments, **environment):
    """Exit status, {section: state}, the report."""
    path = os.path.join(folder, "report.md")
    r = run(["--engine", "cuda-emulated", "--report", path, "--repeats", "1"] + list(arguments), **environment)
    report = open(path, encoding="utf-8").read() if os.path.exists(path) else r.stdout
    return r.returncode, dict(re.findall(r"^## (.*): (\w+)$", report, re.M)), report


def program(path, *lines):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(("#!/bin/sh",) + lines) + "\n")
    os.chmod(path, 0o755)
    return path


def icd(folder, verify, bench=f"echo '{json.dumps(BENCH)}'", times=f"echo '{json.dumps(TIMES)}'"):
    """A build whose programs do that."""
    program(os.path.join(folder, "cuda", "check_device"), times)
    exe = program(os.path.join(folder, "icd"), "case $1 in", f"verify) {verify} ;;", f"bench) {bench} ;;", "esac")
    return ["--build", folder, "--exe", exe]


GOOD = "printf 'what\\nverify         5 passed, 0 failed\\n'"
WRONG = "printf '  a row  2e-3 NOT <= 1e-6\\nverify         4 passed, 1 failed\\n'; exit 1"
UNUSABLE = "echo what; echo 'icd: engine x: this machine cannot run it' >&2; exit 77"


def verdicts(folder):
    """What icd says, and what becomes of it. Where verify fails, bench goes on."""
    for what, verify, state, rc in (
            ("all passes", GOOD, "passed", 0),
            ("a comparison that fails", WRONG, "failed", 1),
            ("exit 0 that does not say so", "echo done", "failed", 1),
            ("nothing compared", "echo 'verify         0 passed, 0 failed'", "failed", 1),
            ("a crash", "kill -SEGV $$", "failed", 1),
            ("no such engine here", UNUSABLE, "skipped", 0),
            ("a device that fails half-way", f"echo a; echo b; {UNUSABLE}", "failed", 1)):
        got, sections, report = cuda_check(folder, *icd(folder, verify), "--only", "verify,bench")
        check(f"{what}: verify is {state}, exit {rc}", got == rc and sections.get("verify tf32") == state, report)
        check(f"{what}: bench goes on", sections.get("bench bf16") == "passed", report)
        check(f"{what}: the row that failed is told", (verify == WRONG) == ("2e-3 NOT <=" in report), report)
    got, sections, report = cuda_check(folder, *icd(folder, GOOD, bench="echo '{'"), "--only", "bench")
    check("a bench that stops in mid-line", got == 1 and set(sections.values()) == {"failed"}, report)
    unmeasured = json.dumps(TIMES).replace("500.0", "-1")
    got, sections, report = cuda_check(folder, *icd(folder, GOOD, times=f"echo '{unmeasured}'"), "--only", "kernels,cudnn")
    check("a slot that could not be timed", got == 1 and "no time for conv_fwd" in report, report)
    check("nothing to compare with cuDNN's", sections.get("cudnn") == "skipped", report)


def comparisons(folder):
    """cuDNN's times, estimates: ratios worked out by hand."""
    conv = os.path.join(folder, "conv")
    answer = json.dumps({"n": 2, "ci": 16, "co": 16, "h": 8, "w": 8, "k": 3, "fp32": {"conv_fwd": 250.0}, "tf32": {}})
    evidence = os.path.join(folder, "EVIDENCE.md")
    with open(evidence, "w", encoding="utf-8") as f:
        f.write(EVIDENCE)
    program(conv, '[ "$(cat)" = "2 16 16 8 8 3" ] || exit 1', f"echo '{answer}'")
    only = ["--only", "bench,kernels,cudnn,estimates"]
    got, sections, report = cuda_check(folder, *icd(folder, GOOD), *only, CUDNN_CONV=conv, EVIDENCE=evidence)
    check("all is compared", got == 0 and sections.get("cudnn") == sections.get("estimates") == "passed", report)
    check("cuDNN is twice as quick in fp32", "| conv_fwd | 2 x 16 > 16 at 8x8 | 500.00 | 250.00 | 0.50 | 500.00 |" in report,
          report)
    # fp32: 2 ms of the convolution against 4 x 250 us, a third of the 3 ms without an estimate, iterations 3 and 1.5 ms
    check("times against estimates", "| fp32 | 2.00 | 1.00 | 2.00 | 33.33 | 3.00 | 1.50 |" in report, report)
    for row, there in (("| fp32 | conv_fwd | `2 16x8x8>16x8x8 k3` | 2.000 | 1.000 | 2.000 |", True),
                       ("| tf32 | langevin | `n2 192` | 1.000 | 1.000 | 1.000 |", True),
                       ("| fp32 | langevin | `n2 192` | 1.000 | 1.000", False)):
        check(f"the estimates of each precision: {row}", (row in report) == there, report)
    program(conv, "echo 'cuDNN: out of order' >&2; exit 1")
    got, sections, report = cuda_check(folder, *icd(folder, GOOD), *only, CUDNN_CONV=conv, EVIDENCE=evidence)
    check("cuDNN fails, and the estimates go on",
          got == 1 and sections.get("cudnn") == "failed" and sections.get("estimates") == "passed"
          and "out of order" in report, report)


def no_gpu(folder):
    r = run(["--build", folder], NVCC="nvcc")
    check("no GPU: one line, exit 77", r.returncode == 77 and re.fullmatch(r"cuda-check: .*\n", r.stdout), r.stdout)


def emulated(folder, build, exe):
    """The same from end to end with programs that are what they are; then with one that is not."""
    arguments = ["--build", build, "--exe", exe, "--verify", "langevin", "--set"] + NET
    got, sections, report = cuda_check(folder, *arguments, "--only", "build,verify,kernels,cudnn,pytorch,estimates")
    wanted = {"build": "passed", "cudnn": "skipped", "pytorch": "skipped", "estimates": "skipped"}
    wanted.update({f"{s} {p}": "passed" for s in ("verify", "kernels") for p in ("fp32", "tf32", "bf16")})
    check("all sections of the emulated device", got == 0 and sections == wanted, report)
    check("its times are called meaningless", "every time below is meaningless" in report, report)
    check("tensor cores have times of their own", all("| conv_bwd_w | `4 16x8x8>16x8x8 k3` | 3 |" in v for v in
                                                      re.split(r"^## kernels", report, flags=re.M)[1:]), report)
    got, sections, report = cuda_check(folder, *icd(folder, WRONG), "--only", "verify")
    check("a planted failure", got == 1 and sections.get("verify fp32") == "failed", report)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        verdicts(scratch)
        comparisons(scratch)
        if not os.path.exists("/dev/nvidiactl"):
            no_gpu(scratch)
        if len(sys.argv) == 3:
            emulated(scratch, *sys.argv[1:])
    print(f"check_device {passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
