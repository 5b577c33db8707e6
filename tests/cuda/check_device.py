#!/usr/bin/env python3
"""Everything that wants a GPU, in one report to send back: `make cuda-check`.

    tests/cuda/check_device.py [--engine cuda] [--report build/cuda-check.md] [--only build,verify,...] [--set key=value ...]

Builds icd for this GPU; runs `icd verify` and `icd bench` in fp32, TF32 and BF16; times every slot's call of an iteration;
compares the 3x3 convolutions with cuDNN's (cudnn.h and libcudnn; CUDNN_HOME: where, if not with the toolkit; CUDNN_CONV: a
program that answers as tests/peer/cudnn_conv.cpp does), iterations with PyTorch's (PYTHON: which), and times with the estimates
of fast/cuda/EVIDENCE.md (EVIDENCE: another file). A section that fails does not stop the others. Exit 0: all that could run
passed, 1: not, 77: no GPU, no driver or no nvcc. --engine cuda-emulated does the same on the CPU with a small net: its times
say nothing of any GPU."""
import argparse
import ctypes
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PEERS = os.path.join(ROOT, "tests", "peer")
PRECISIONS = ("fp32", "tf32", "bf16")
SECTIONS = ("build", "verify", "bench", "kernels", "cudnn", "pytorch", "estimates")
CONVOLUTIONS = ("conv_fwd", "conv_bwd_x", "conv_bwd_w")
NET = "code-cifar10"
# The emulator is some 10,000 times slower than a GPU.
SMALL = ["filters=4", "batch=2", "steps=1", "nn_set=4"]
ROOM = 12                                # lines of what a program said that failed


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--engine", default="cuda", choices=("cuda", "cuda-emulated"))
    p.add_argument("--build", default="build", help="build folder; a GPU's is the folder cuda-check in it")
    p.add_argument("--exe", default="icd", help="with cuda-emulated: which program make is to build")
    p.add_argument("--report", help="default BUILD/cuda-check.md")
    p.add_argument("--only", default=",".join(SECTIONS))
    p.add_argument("--verify", metavar="WORD", help="icd verify --only WORD")
    p.add_argument("--set", nargs="*", default=[], metavar="key=value", help="other settings of " + NET)
    p.add_argument("--repeats", type=int, default=7)
    o = p.parse_args()
    unknown = [s for s in o.only.split(",") if s not in SECTIONS]
    if unknown:
        p.error(f"--only {unknown[0]}: wanted some of {','.join(SECTIONS)}")
    o.emulated = o.engine != "cuda"
    o.build = os.path.abspath(o.build if o.emulated else os.path.join(o.build, "cuda-check"))
    o.exe = os.path.abspath(o.exe) if o.emulated else os.path.join(o.build, "icd")
    o.report = o.report or os.path.join(o.build, "cuda-check.md")
    o.settings = (SMALL if o.emulated else []) + o.set
    return o


# ---- the machine ----

def driver():
    """The first GPU as its driver describes it, or why there is none."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver on this machine (libcuda.so.1)"
    error, version, device, memory = cuda.cuInit(0), ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    if error or cuda.cuDeviceGet(ctypes.byref(device), 0):
        return f"the NVIDIA driver finds no GPU on this machine (cuInit: error {error})"
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGetName(name, 256, device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    cuda.cuDriverGetVersion(ctypes.byref(version))

    def attribute(which):
        value = ctypes.c_int()
        return value.value if cuda.cuDeviceGetAttribute(ctypes.byref(value), which, device) == 0 else 0

    version = f"{version.value // 1000}.{version.value % 1000 // 10}"
    if toolkit() and int(toolkit().split(".")[0]) > int(version.split(".")[0]):
        return f"the driver of {name.value.decode()} is for CUDA {version}, and the toolkit is {toolkit()}: another CUDA_HOME?"
    return {"name": name.value.decode(), "capability": 10 * attribute(75) + attribute(76), "multiprocessors": attribute(16),
            "clock, MHz": attribute(13) // 1000, "memory clock, MHz": attribute(36) // 1000, "memory bus, bits": attribute(37),
            "memory, MiB": memory.value >> 20, "CUDA of the driver": version}


def said(*command):
    """What a program prints, in a line; '' if it does not run."""
    try:
        r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT, check=False)
    except OSError:
        return ""
    return " ".join(r.stdout.split()) if r.returncode == 0 else ""


def nvcc():
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return os.environ.get("NVCC") or shutil.which(os.path.join(home, "bin", "nvcc")) or shutil.which("nvcc")


def toolkit():
    """Its version; '' without nvcc."""
    return (re.findall(r"release [\d.]+, V([\d.]+)", said(nvcc(), "--version")) or [""])[0] if nvcc() else ""


def architecture(capability):
    """The newest that nvcc knows and the GPU can run."""
    known = sorted(int(v) for v in re.findall(r"sm_(\d+)\b", said(nvcc(), "--list-gpu-code")))
    return max((v for v in known if v <= capability), default=capability)


def machine(o, gpu):
    changes = " and changes" if said("git", "status", "--porcelain", "-uno") else ""
    rows = {"commit": said("git", "rev-parse", "HEAD") + changes,
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "machine": f"{platform.system()} {platform.machine()}"}
    rows.update(gpu or {"name": "none: the emulator"})
    if gpu:
        smi = ("nvidia-smi", "-i", "0", "--format=csv,noheader")
        rows["driver"] = said(*smi, "--query-gpu=driver_version") or "not known: no nvidia-smi"
        rows["clocks now and at most, power limit"] = said(
            *smi, "--query-gpu=clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.limit")
    rows["toolkit"] = toolkit() or "no nvcc"
    rows["settings"] = f"{NET} {' '.join(o.settings)}"
    return table(("", ""), rows.items())


# ---- programs and their verdicts ----

class Failed(Exception):
    """What went wrong, in a line; then lines of what was said."""


class Skipped(Exception):
    """Why, in a line."""


def run(command, what, seconds=3600, **more):
    """(exit status, stdout, stderr)"""
    try:
        r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=seconds,
                           check=False, **more)
    except OSError as e:
        raise Failed(f"{what}: {e}") from e
    except subprocess.TimeoutExpired as e:
        raise Failed(f"{what}: not done after {seconds} s") from e
    return r.returncode, r.stdout, r.stderr


def ending(what, rc, *texts):
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return Failed("\n".join([f"{what}: exit {rc}"] + lines[-ROOM:]))


def of_icd(o, precision, what, rc, out, err):
    """Its output; nothing done is a skip where the GPU is too old for it, anything else but exit 0 a failure."""
    able = o.capability >= (75 if precision == "fp32" else 80)
    if rc != 0 and not able and not out.strip().count("\n") and "this machine cannot run it" in err:
        raise Skipped(err.strip().splitlines()[-1].replace("icd: ", ""))
    if rc != 0:
        raise ending(what, rc, out, err)
    return out


def parsed(what, text):
    try:
        return json.loads(text)
    except ValueError as e:
        raise Failed(f"{what}: no JSON: {text[:200]!r}") from e


def engine(o, precision):
    return o.engine + ("" if precision == "fp32" else ":" + precision)


def table(head, rows, digits=1):
    def cell(v):
        return "" if v is None else f"{v:.{digits}f}" if isinstance(v, float) else str(v).replace("|", "\\|")
    lines = [head, ["---"] * len(head)] + [[cell(v) for v in r] for r in rows]
    return ["| " + " | ".join(r) + " |" for r in lines]


# ---- sections: each returns lines of the report, or raises ----

def build(o, gpu):
    make = os.environ.get("MAKE", "make").split()
    kind = ["EMULATE=1"] if o.emulated else ["CUDA=1", "EMULATE=0", f"CUDA_ARCH={architecture(gpu['capability'])}"]
    command = make + ["-s"] + kind + [f"B={o.build}", f"EXE={o.exe}", o.exe, os.path.join(o.build, "cuda", "check_device")]
    begin = time.monotonic()
    rc, out, err = run(command, "make", close_fds=False)             # make's own pipes say how many jobs may run
    if rc != 0:
        raise ending("make", rc, out, err)
    warnings = [line for line in (out + err).splitlines() if "warning" in line and not line.startswith("make")]
    if warnings:
        raise Failed("\n".join(["make: warnings"] + warnings[:ROOM]))
    return [f"`{' '.join(kind)}`: {time.monotonic() - begin:.0f} s, no warning"]


def verify(o, precision):
    begin, what = time.monotonic(), f"icd verify --engine {engine(o, precision)}"
    rc, out, err = run([o.exe, "verify", "--engine", engine(o, precision)] + (["--only", o.verify] if o.verify else []), what)
    wrong = [line for line in out.splitlines() if "NOT <=" in line]
    if rc not in (0, 77) and wrong:
        raise Failed("\n".join([f"{what}: {out.strip().splitlines()[-1]}"] + wrong[:3 * ROOM] + err.splitlines()[-ROOM:]))
    out = of_icd(o, precision, what, rc, out, err)
    closing = re.search(r"^verify +(\d+) passed, 0 failed$", out, re.M)
    if not closing or int(closing.group(1)) == 0:
        raise Failed(f"{what}: exit 0, but it does not say that all passed")
    return [f"{closing.group(1)} comparisons passed in {time.monotonic() - begin:.0f} s"]


def bench(o, precision, found):
    what = f"icd bench --engine {engine(o, precision)}"
    rc, out, err = run([o.exe, "bench", "--engine", engine(o, precision), "--preset", NET, "--only", "iteration", "--json",
                        "--repeats", str(o.repeats), "--set"] + o.settings, what)
    answer = parsed(what, of_icd(o, precision, what, rc, out, err))
    found[precision] = answer
    return [f"an iteration {iteration_ms(answer):.2f} ms; batch {answer['batch']} in parts of {answer['part']}, "
            f"K = {answer['steps']}, {answer['bytes'] / 2 ** 20:.0f} MiB", ""] + \
        table(("", "ms", "GFLOP/s"), [(r["what"], r["ms"], r["gflops"]) for r in answer["rows"]])


def iteration_ms(answer):
    return next(r["ms"] for r in answer["rows"] if r["what"] == "iteration")


def kernels(o, precision, found):
    what = f"check_device times --engine {engine(o, precision)}"
    program = os.path.join(o.build, "cuda", "check_device")
    rc, out, err = run([program, "times", "--engine", engine(o, precision), "--preset", NET, "--samples", str(o.repeats),
                        "--set"] + o.settings, what)
    rows = parsed(what, of_icd(o, precision, what, rc, out, err))["rows"]
    bad = [f"{r['slot']} {r['shape']}" for r in rows if not r["us"] > 0]
    if bad or not rows:
        raise Failed(f"{what}: no time for {', '.join(bad) or 'anything'}")
    for r in rows:
        r["ms"] = r["calls"] * r["us"] / 1000
    rows.sort(key=lambda r: -r["ms"])
    found[precision] = rows
    whole, convolutions = total(rows), total(r for r in rows if r["slot"] in CONVOLUTIONS)
    return [f"{whole:.2f} ms of kernels an iteration, each alone, warm, in a graph of many; convolutions "
            f"{100 * convolutions / whole:.0f} %", ""] + \
        table(("slot", "shape", "calls", "µs a call", "ms an iteration"),
              [(r["slot"], f"`{r['shape']}`", r["calls"], r["us"], r["ms"]) for r in rows], 2)


def total(rows):
    return sum(r["ms"] for r in rows)


def cudnn_program(o):
    """A command that answers as cudnn_conv.cpp does."""
    if os.environ.get("CUDNN_CONV"):
        return os.environ["CUDNN_CONV"].split()
    if o.emulated:
        raise Skipped("the emulator has no cuDNN")
    out, home = os.path.join(o.build, "cudnn_conv"), os.environ.get("CUDNN_HOME")
    where = [f"-I{home}/include", f"-L{home}/lib", f"-L{home}/lib64", f"-Xlinker=-rpath={home}/lib:{home}/lib64"]
    rc, told, err = run([nvcc(), "-std=c++17", "-O2", "-o", out, os.path.join(PEERS, "cudnn_conv.cpp"), "-lcudnn"]
                        + (where if home else []), "nvcc")
    if rc != 0 and re.search(r"cudnn\.h: No such file|cannot find -lcudnn", told + err):
        raise Skipped("no cuDNN here (cudnn.h, libcudnn; CUDNN_HOME says where)")
    if rc != 0:
        raise ending("nvcc cudnn_conv.cpp", rc, told, err)
    return [out]


def convolution(row):
    """[n, ci, co, h, w, k] of a 3x3 convolution with stride 1 that sees blocked tensors; None: another call."""
    m = re.fullmatch(r"(\d+) (\d+)x(\d+)x(\d+)>(\d+)x(\d+)x(\d+) k3", row["shape"])
    if row["slot"] not in CONVOLUTIONS or not m:
        return None
    n, ci, h, w, co, ho, wo = (int(v) for v in m.groups())
    return (n, ci, co, h, w, 3) if (h, w) == (ho, wo) else None


def cudnn(o, times):
    if not times:
        raise Skipped("no times of our own kernels to compare with")
    shapes = sorted({convolution(r) for rows in times.values() for r in rows} - {None})
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    libraries = ":".join(v for v in (os.environ.get("LD_LIBRARY_PATH"), f"{home}/lib64") if v)
    rc, out, err = run(cudnn_program(o), "cudnn_conv", input="".join(" ".join(map(str, s)) + "\n" for s in shapes),
                       env=dict(os.environ, LD_LIBRARY_PATH=libraries))
    if rc != 0 and "error while loading shared libraries: libcudnn" in err:
        raise Skipped(err.strip().splitlines()[-1])
    if rc != 0:
        raise ending("cudnn_conv", rc, err)
    answers = [parsed("cudnn_conv", line) for line in out.splitlines()]
    theirs = {tuple(a[k] for k in ("n", "ci", "co", "h", "w", "k")): a for a in answers}
    rows = []
    ahead = {p: [] for p in times}
    for shape in shapes:
        for slot in CONVOLUTIONS:
            line = [slot, f"{shape[0]} x {shape[1]} > {shape[2]} at {shape[3]}x{shape[4]}"]
            for p in times:
                us = next((r["us"] for r in times[p] if r["slot"] == slot and convolution(r) == shape), None)
                other = theirs.get(shape, {}).get(p, {}).get(slot)
                line += [us, other, other / us if us and other else None]
                ahead[p] += [other / us] if us and other else []
            if any(v is not None for v in line[2:]):
                rows.append(line)
    if not any(ahead.values()):
        raise Failed("cuDNN gave no time for any convolution")
    said_of = [f"{p} ahead at {sum(q >= 1 for q in v)} of {len(v)}, {min(v):.2f} to {max(v):.2f} times as quick"
               for p, v in ahead.items() if v]
    return ["; ".join(said_of), "", "µs; ratio: cuDNN's over ours, above 1 ours is quicker. Ours add the bias, and read and "
            "write floats always; cuDNN's BF16 moves half the bytes.", ""] + \
        table(["", "shape"] + [f"{p} {w}" for p in times for w in ("ours", "cuDNN", "ratio")], rows, 2)


def pytorch(o, benches):
    if any(s.startswith(("arch=", "image=")) for s in o.settings):
        raise Skipped("PyTorch's program knows no other architecture")
    sys.path.insert(0, PEERS)
    import run as peers                  # tests/peer/run.py
    python, rows, device = peers.torch_python(), [], "cpu" if o.emulated else "cuda"
    if not python:
        raise Skipped("no PyTorch here (PYTHON says which interpreter has one)")
    probe = "import torch; torch.set_default_device; assert torch.cuda.is_available(); print(1)"
    if not o.emulated and not said(python, "-c", probe):
        raise Skipped(f"the PyTorch of {python} is older than 2 or has no GPU")
    settings = dict(s.split("=", 1) for s in o.settings)
    command = [python, os.path.join(PEERS, "torch_step.py"), "--net", NET, "--device", device, "--iterations", str(o.repeats)]
    for key, usual in (("filters", "64"), ("batch", "128"), ("steps", "40")):
        command += ["--" + key, settings.get(key, usual)]
    compared = [p for p in ("fp32", "tf32") if p in benches]
    if not compared:
        raise Skipped("no iteration of our own to compare with")
    for p in compared:
        rc, out, err = run(command + ["--tf32"] * (p == "tf32"), "torch_step.py")
        if rc != 0:
            raise ending("torch_step.py", rc, err)
        theirs, ours = parsed("torch_step.py", out.strip().splitlines()[-1]), benches[p]
        if theirs["parameters"] != ours["parameters"]:
            raise Failed(f"{ours['parameters']} parameters against PyTorch's {theirs['parameters']}: not the same work")
        rows.append((p, iteration_ms(ours), theirs["ms"]["iteration"], theirs["ms"]["iteration"] / iteration_ms(ours),
                     theirs["peak_rss_mib"]))
    return [f"PyTorch {theirs['torch']} on {device}, arrangement `{theirs['arrangement']}`; BF16 is not compared", ""] + \
        table(("an iteration", "icd ms", "PyTorch ms", "ratio", "PyTorch MiB"), rows, 2)


# ---- estimates ----

def cells(path, heading):
    """The rows, as {column: text}, of the first table below that heading of a markdown file."""
    rows, head, below = [], None, False
    for line in open(path, encoding="utf-8"):
        if line.startswith("#"):
            if rows:
                break
            below = line.strip("# \n").startswith(heading)
        elif below and line.startswith("|"):
            row = [c.strip() for c in line.strip().strip("|").split("|")]
            if head is None:
                head = row
            elif set("".join(row)) - set("-: "):
                rows.append(dict(zip(head, row)))
    return rows


def estimated(path, device, precision):
    """{(slot, shape): us of a call}"""
    column = f"{device} {precision}"
    return {(r["slot"], r["shape"].strip("`")): float(r[column]) for r in cells(path, "Calls") if r[column] != "-"}


def estimates(o, gpu, benches, times):
    path = os.environ.get("EVIDENCE", os.path.join(ROOT, "fast", "cuda", "EVIDENCE.md"))
    device = {80: "A100", 90: "H100"}.get(90 if o.emulated else gpu["capability"])
    if not os.path.exists(path):
        raise Skipped("there is no fast/cuda/EVIDENCE.md")
    if not device:
        raise Skipped(f"estimates are of A100 and H100, and this is {gpu['name']}")
    summary, rows = [], []
    for p in times:
        guess = estimated(path, device, p)
        both = [(r, r["calls"] * guess[r["slot"], r["shape"]] / 1000) for r in times[p] if (r["slot"], r["shape"]) in guess]
        if not both:
            continue
        took, hoped = sum(r["ms"] for r, _ in both), sum(g for _, g in both)
        whole = [float(r["total ms"]) for r in cells(path, "Iteration") if (r["device"], r["precision"]) == (device, p)]
        lacking = 100 * (1 - took / total(times[p]))
        summary.append((p, took, hoped, took / hoped, lacking, iteration_ms(benches[p]) if p in benches else None,
                        whole[0] if whole else None))
        rows += [(p, r["slot"], f"`{r['shape']}`", r["ms"], g, r["ms"] / g if g > 0 else None) for r, g in both]
    if not summary:
        raise Skipped("no estimate is of a call that was timed: they are of " + NET + " as it comes")
    rows.sort(key=lambda r: r[4] - r[3])
    worst = max(summary, key=lambda v: v[3])
    return [f"kernels take up to {worst[3]:.2f} times what is estimated of {device} ({worst[0]})", ""] + \
        table(("", "kernels, ms", "estimated", "ratio", "% of the time without an estimate", "iteration, ms", "estimated"),
              summary, 2) + ["", "ms an iteration, what loses most first:", ""] + \
        table(("", "slot", "shape", "ms", "estimated", "ratio"), rows, 3)


# ---- the report ----

def attempt(name, section, *arguments):
    """(name, passed|failed|skipped, a line of why, lines)"""
    print(f"{name} ...", flush=True)
    try:
        lines = section(*arguments)
        state, why = "passed", lines[0] if lines else ""
    except Skipped as e:
        state, why, lines = "skipped", str(e), []
    except Failed as e:
        first, *rest = str(e).splitlines()
        state, why, lines = "failed", first, ["```"] + rest + ["```"] if rest else []
    except Exception as e:               # a report with a hole in it is better than none
        state, why, lines = "failed", f"{type(e).__name__}: {e}", []
    print(f"{name}: {state}: {why}", flush=True)
    return name, state, " ".join(why.split()), lines


def sections(o, gpu):
    wanted = o.only.split(",")
    done, benches, times = [], {}, {}
    for name, section, more in (("build", build, (gpu,)), ("verify", verify, None), ("bench", bench, benches),
                                ("kernels", kernels, times), ("cudnn", cudnn, (times,)), ("pytorch", pytorch, (benches,)),
                                ("estimates", estimates, (gpu, benches, times))):
        if name not in wanted:
            continue
        if name != "build" and done and done[0][0] == "build" and done[0][1] == "failed":
            done.append((name, "skipped", "there is no build", []))
        elif isinstance(more, tuple):
            done.append(attempt(name, section, o, *more))
        else:
            done += [attempt(f"{name} {p}", section, o, p, *([] if more is None else [more])) for p in PRECISIONS]
    return done


def main():
    o = options()
    gpu = None
    if not o.emulated:
        gpu = driver()
        if isinstance(gpu, str) or not nvcc():
            print("cuda-check:", gpu if isinstance(gpu, str) else "no nvcc (CUDA_HOME says where the toolkit is)")
            return 77
    o.capability = gpu["capability"] if gpu else 0
    done = sections(o, gpu)
    counts = {state: sum(d[1] == state for d in done) for state in ("passed", "failed", "skipped")}
    lines = ["# icd on a GPU: what `make cuda-check` found", ""]
    lines += ["**Emulated on the CPU: every time below is meaningless.**", ""] if o.emulated else []
    lines += machine(o, gpu) + [""]
    lines += table(("section", "", ""), [d[:3] for d in done])
    for name, state, why, more in done:
        lines += ["", f"## {name}: {state}", ""] + (more or [why])
    lines += ["", "{passed} passed, {failed} failed, {skipped} skipped".format(**counts)]
    os.makedirs(os.path.dirname(os.path.abspath(o.report)), exist_ok=True)
    with open(o.report, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
    print(f"cuda-check: {lines[-1]}; the report is {o.report}")
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
