// trace.cpp: ICD_CUDA_TRACE=DIR writes launch number N of the process, counted from 0 in the order of execution, as
//
//   DIR/NNNNNN.txt           lines of words:
//     kernel _ZN8icd_cuda7reverseEPKfPf      the mangled name that nvcc gives it
//     grid 4 1 1                             blocks in x, y, z
//     block 256 1 1                          threads
//     shared 1024                            bytes of dynamic shared memory
//     argument 0 8 00040a7c557f0000          number, bytes, those bytes in order of memory, hexadecimal
//     buffer 0 7f557c0a0400 4096             number, address at the launch (as in the arguments), bytes
//   DIR/NNNNNN.K.before.npy  buffer K before and after the launch: '|u1', one dimension
//   DIR/NNNNNN.K.after.npy
//
// The buffers are the allocations that some word of an argument (8 bytes, at a multiple of 8) points into, and those that words
// of such buffers point into. So whoever replays a launch finds every pointer, also in a struct, by its
// value: it lies in [address, address + bytes) of a buffer; the place to write instead is the new buffer's plus the difference.
// Arguments are as the PTX's .param list has them: as many, each of as many bytes (tests/cuda/trace.py).
#include "trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <string>

#include "check.h"
#include "lines.h"

namespace emulate {

static unsigned long long number;
static std::vector<range> buffers;               // of the launch that runs

static const char *folder()
{
    static const char *const dir = getenv("ICD_CUDA_TRACE");
    static const bool made = dir && (mkdir(dir, 0777) == 0 || errno == EEXIST);
    return made ? dir : nullptr;
}

static FILE *create(const std::string &end)
{
    char start[32];
    snprintf(start, sizeof start, "/%06llu", number);
    std::string path = folder() + (start + end);
    FILE *f = fopen(path.c_str(), "wb");
    if (!f)
        fprintf(stderr, "cuda-emulated: %s: %s\n", path.c_str(), strerror(errno));
    return f;
}

// Close f; a full disk is told.
static void close(FILE *f)
{
    if (ferror(f) | fclose(f))
        fprintf(stderr, "cuda-emulated: the trace in %s is not whole\n", folder());
}

static void find_buffers(uintptr_t begin, size_t bytes)
{
    for (uintptr_t a = (begin + 7) / 8 * 8; a + sizeof(void *) <= begin + bytes; a += 8) {
        uintptr_t p;
        memcpy(&p, reinterpret_cast<const void *>(a), sizeof p);
        const range *r = global_space.holds(p) ? global_space.find(p) : nullptr;
        if (!r || p - r->begin >= r->bytes)
            continue;
        bool known = false;
        for (const range &b : buffers)
            known = known || b.begin == r->begin;
        if (!known)
            buffers.push_back(*r);
    }
}

static void write_buffers(const char *when)
{
    for (size_t k = 0; k < buffers.size(); k++) {
        FILE *f = create("." + std::to_string(k) + "." + when + ".npy");
        if (!f)
            return;
        char header[128], magic[] = {'\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0, 118, 0};
        memset(header, ' ', sizeof header);
        memcpy(header, magic, sizeof magic);
        int n = snprintf(header + 10, 110, "{'descr': '|u1', 'fortran_order': False, 'shape': (%zu,), }", buffers[k].bytes);
        header[10 + n] = ' ';
        header[127] = '\n';
        fwrite(header, 1, sizeof header, f);
        fwrite(reinterpret_cast<const void *>(buffers[k].begin), 1, buffers[k].bytes, f);
        close(f);
    }
}

// The name in the device's build: the same but for the namespace, and for the L of a static function, which nvcc leaves out.
static std::string device_name(const void *function)
{
    std::string name = symbol_of(reinterpret_cast<uintptr_t>(function));
    size_t at = name.find("8icd_emul");
    return at == std::string::npos ? name : name.replace(at, name[at + 9] == 'L' ? 10 : 9, "8icd_cuda");
}

static void write_launch(const launch &l)
{
    FILE *f = create(".txt");
    if (!f)
        return;
    fprintf(f, "kernel %s\ngrid %u %u %u\nblock %u %u %u\nshared %zu\n", device_name(l.function).c_str(), l.grid.x, l.grid.y,
            l.grid.z, l.block.x, l.block.y, l.block.z, l.dynamic);
    for (size_t i = 0; i < l.count; i++) {
        fprintf(f, "argument %zu %zu ", i, l.arguments[i].bytes);
        const unsigned char *from = static_cast<const unsigned char *>(l.args) + l.arguments[i].offset;
        for (size_t k = 0; k < l.arguments[i].bytes; k++)
            fprintf(f, "%02x", from[k]);
        fprintf(f, "\n");
    }
    for (size_t k = 0; k < buffers.size(); k++)
        fprintf(f, "buffer %zu %zx %zu\n", k, size_t{buffers[k].begin}, buffers[k].bytes);
    close(f);
}

void trace_before(const launch &l)
{
    if (!folder())
        return;
    buffers.clear();
    for (size_t i = 0; i < l.count; i++)
        find_buffers(reinterpret_cast<uintptr_t>(l.args) + l.arguments[i].offset, l.arguments[i].bytes);
    for (size_t k = 0; k < buffers.size(); k++)
        find_buffers(buffers[k].begin, buffers[k].bytes);
    write_launch(l);
    write_buffers("before");
}

void trace_after(const launch &)
{
    if (!folder())
        return;
    write_buffers("after");
    number++;
}

}  // namespace emulate
