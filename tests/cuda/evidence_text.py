"""The words of fast/cuda/EVIDENCE.md, for evidence.py."""

# Kernels of which less than 95 % of the sectors that warps touch are needed, and why.
PARAMETERS = "parameters, or their gradient"
ROWS = "rows of 28 pixels begin at no multiple of 32 bytes"
SCATTERED = {
    "avgpool_fwd<float,false>": "lanes in a row want every second pixel of a planar row; windows overlap in the first-level "
                                "cache",
    "conv_first_y<8,false>": ROWS, "conv_first_y<8,true>": ROWS,
    "conv_dense_pack": PARAMETERS, "conv_sum": PARAMETERS, "conv_turn": PARAMETERS, "conv_tensor_pack<0>": PARAMETERS,
    "conv_tensor_pack<1>": PARAMETERS, "weight_std_fwd": PARAMETERS, "weight_std_bwd": PARAMETERS,
    "norm_sum_images": PARAMETERS,
    "copy": "parameters; tensors are copied whole", "zero": PARAMETERS, "scale_add": PARAMETERS,
    "energies": "one float of each image's 16 lanes", "conv_sum_pixels": "sixteen sums by half a warp",
}

WHY = """\
What is missed, and why: on an H100 in BF16, of {total} ms the convolutions take {conv}; then {top}. The convolutions are
bound by {bounds}: activations are fp32 in memory, so a 64-channel convolution has 144 flop for each byte that it must move,
where BF16 tensor cores want 295. Of what mma.sync can reach (see the assumptions) the convolutions make {mma_tf32} % in TF32
and {mma_bf16} % in BF16: the datasheet's peak is wgmma's. The norms are bound by memory: forward reads x and writes y;
backward reads x and gy and writes gx.
"""

TEXT = """\
# Evidence without a device

Made by `make cuda-evidence`, kept true by `make cuda-evidence-check`. No GPU was near: registers are what nvcc's ptxas
says, counts are what the emulator counted of the engine's own launches, and **every time is an estimate, not a
measurement**, from these counts and datasheets. `make cuda-check` measures, and compares with the estimates here.

## Iteration

One iteration of code-cifar10: batch 128, K = 40, all its default settings, L_KL on: {nodes} launches in
BF16.

{summary}

"of peak": flops as the convolutions' formula has them (not those of borders and tails) over the datasheet's peak, while a
convolution runs. First layers do their swish in the same launches, which counts as convolutions; pools likewise.
"convolutions % with L2": as if what a launch moves came from L2 wherever it fits half of it; all else here takes it from
memory.

## Claims

{claims}

{why}

## Assumptions

{devices}

A launch takes the longest of: distinct bytes over the memory's bandwidth (nothing stays in L2 from launch to launch),
sectors that warps touch over L2's, passes over the banks of shared memory, fp32 operations, tensor operations. Blocks go to
multiprocessors in whole waves. Latency, instruction issue and the special functions are left out, so a time is a lower
bound by these roofs. The operations are FLOPS(n) of the sources (an exp, a quotient or a root as written there) and 4096 or
2048 for each mma.

A chain is one graph, in which each scale of the net is a branch, forward and backward. A launch begins at the earliest 1 us
after the end of the one before it on its branch; so do a branch's first launch, after what comes before the fork, and what
follows the join, after the last launch of all branches. One launch runs at a time: of those that are ready the one that has
been so for longest (of equals, the larger image's). "Between launches" is the time of an iteration in which none runs. A
device also runs two at once where one leaves multiprocessors idle: that is not assumed.

The counts: of each kind of launch a few blocks were run (first, last, some between) and stand for the others; what is
distinct is bounded by what lies between the lowest and highest address met. No count depends on pixels. What a launch's
last block to arrive does alone (nearest_of, square_sum) is left out. In a loop with a load that some lanes pass, lanes
may be put together wrongly: such a load's coalescing is then told too low.

## Host

The next batch (starts, positives, neighbours and their transitions) is prepared while the device computes gradients and
update, image by image by as many threads as `threads` says (all of the machine's, if nothing else is said). Host: measured
once, 128 starts, 128 positives and 100 neighbours through code-cifar10's transitions (icd_augment_apply) by one core of an
Intel Xeon server. With the cores of the last column it costs the device no time.

{host}

## Classes

{classes}

## Kernels

The largest launch of each kernel in code-cifar10 and code-mnist (64 filters), in any precision. MB: distinct bytes read and
written; by warps: sectors of 32 bytes touched. Coalescing: sectors that the bytes need of those that warps touch, over all
launches of both nets. Banks: passes over the banks of shared memory for each ideal one, worst launch: 1 is without
conflicts.

{kernels}

## Coalescing

Kernels of which less than 95 % of the sectors that warps touch in an iteration are needed. A parameter lies behind the one
before it, at any multiple of four bytes: a warp's 128 bytes of it then lie in five sectors.

{scattered}

## Registers

ptxas: registers, and the share in % of a multiprocessor's warps that can be resident (limits: CUDA programming guide,
technical specifications per compute capability), with the most threads and the shared memory (static + dynamic) of any
launch of the two nets. No kernel spills or has a stack frame. A kernel that neither net launches has its registers alone;
tensor cores' want sm_80.

{registers}

## Calls

Estimated microseconds of one call of a slot in code-cifar10, all its launches together, without what lies between launches.
Calls that make less than 0.02 % of an iteration on every device are left out: {rest} % in all.

{calls}
"""
