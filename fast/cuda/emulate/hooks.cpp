// hooks.cpp: what -fsanitize=thread and -fsanitize=bounds make a compiler call: here the checker, not those sanitizers.
#include <stdio.h>
#include <stdlib.h>

#include "block.h"
#include "check.h"

using namespace emulate;

#define CALLER reinterpret_cast<uintptr_t>(__builtin_return_address(0))
#define HOOKS(n) \
    void __tsan_read##n(void *p) { touch(p, n, access::read, CALLER); } \
    void __tsan_write##n(void *p) { touch(p, n, access::write, CALLER); } \
    void __tsan_read_write##n(void *p) { touch(p, n, access::read, CALLER); touch(p, n, access::write, CALLER); } \
    void __tsan_unaligned_read##n(void *p) { touch_parts(p, n, access::read, CALLER); } \
    void __tsan_unaligned_write##n(void *p) { touch_parts(p, n, access::write, CALLER); }

// Something of several members, copied at once: as words, or as bytes.
static void touch_parts(void *p, size_t n, access kind, uintptr_t pc)
{
    size_t step = (reinterpret_cast<uintptr_t>(p) | n) % 4 ? 1 : 4;
    for (size_t i = 0; i < n; i += step)
        touch(static_cast<char *>(p) + i, step, kind, pc);
}

// What the compiler passes: a place in the source, the array's type, whose name follows two 16-bit numbers.
struct bounds_type { uint16_t kind, info; char name[1]; };
struct bounds_data { const char *file; uint32_t line, column; const bounds_type *array, *index; };

extern "C" {
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_read_range(void *p, size_t n) { touch_parts(p, n, access::read, CALLER); }
void __tsan_write_range(void *p, size_t n) { touch_parts(p, n, access::write, CALLER); }
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_init() {}
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **) {}

void __ubsan_handle_out_of_bounds(bounds_data *d, uintptr_t index)
{
    where at{d->file, static_cast<int>(d->line)};
    fault(EMULATE_BOUNDS, at, "index %zd of %s is out of bounds", static_cast<ptrdiff_t>(index), d->array->name);
    if (!self)
        abort();                                 // the host's own code
}
}
