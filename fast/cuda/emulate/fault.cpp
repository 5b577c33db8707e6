// fault.cpp: the first fault: where, in which thread, and what in one line.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "lines.h"

namespace emulate {

static emulate_options from_environment()
{
    emulate_options o = {EMULATE_FORWARD, 1, 1, 0, 0, size_t{4} << (sizeof(void *) > 4 ? 30 : 26), 90, 0};
    const char *text = getenv("ICD_EMULATE");
    if (text && !strcmp(text, "reverse"))
        o.order = EMULATE_REVERSE;
    if (text && !strncmp(text, "random:", 7)) {
        o.order = EMULATE_RANDOM;
        o.seed = strtoull(text + 7, nullptr, 10);
    }
    return o;
}

emulate_options options = from_environment();
static emulate_fault first;

static void copy(char *to, size_t room, const char *from) { snprintf(to, room, "%s", from); }

static void note(emulate_kind kind, where at, const char *text)
{
    first.kind = kind;
    const char *base = strrchr(at.file, '/');
    copy(first.file, sizeof first.file, base ? base + 1 : at.file);
    first.line = at.line;
    copy(first.kernel, sizeof first.kernel, now.of ? now.of->name : "");
    uint3 b = self ? now.index : uint3{0, 0, 0}, t = self ? self->index : uint3{0, 0, 0};
    first.block[0] = b.x, first.block[1] = b.y, first.block[2] = b.z;
    first.thread[0] = t.x, first.thread[1] = t.y, first.thread[2] = t.z;
    snprintf(first.text, sizeof first.text, "%s:%d: %s [kernel %s, block (%u,%u,%u), thread (%u,%u,%u)]", first.file, at.line,
             text, first.kernel, b.x, b.y, b.z, t.x, t.y, t.z);
    if (!options.quiet)
        fprintf(stderr, "cuda-emulated: %s\n", first.text);
}

static void take(emulate_kind kind, where at, const char *format, va_list values)
{
    char text[256];
    vsnprintf(text, sizeof text, format, values);
    if (first.kind == EMULATE_OK)
        note(kind, at, text);
    if (self)
        leave_block();
}

void fault(emulate_kind kind, where at, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    take(kind, at, format, values);
    va_end(values);
}

void fault_at(emulate_kind kind, uintptr_t pc, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    take(kind, where_of(pc), format, values);
    va_end(values);
}

}  // namespace emulate

emulate_options emulate_get(void) { return emulate::options; }
void emulate_set(emulate_options o) { emulate::options = o; }
const emulate_fault *emulate_last_fault(void) { return emulate::first.kind == EMULATE_OK ? nullptr : &emulate::first; }
void emulate_clear(void) { emulate::first.kind = EMULATE_OK; }
