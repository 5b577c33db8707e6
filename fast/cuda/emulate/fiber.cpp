// fiber.cpp: switching between stacks: a few instructions on x86-64 and aarch64, ucontext elsewhere.
#include "fiber.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <new>

#include "poison.h"
#ifdef EMULATE_POISON
#include <sanitizer/common_interface_defs.h>
enum { STACK = 256 << 10 };
#else
enum { STACK = 64 << 10 };
#endif

#if defined(__x86_64__) || defined(__aarch64__)
// Save what a call must preserve on this stack, its address in *save, take the other stack, restore, return into it.
extern "C" void emulate_switch(void **save, void *load);
#if defined(__x86_64__)
asm(".text\n.p2align 4\n.globl emulate_switch\n.hidden emulate_switch\n.type emulate_switch,@function\nemulate_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n.size emulate_switch,.-emulate_switch\n");
enum { SAVED_WORDS = 8, RETURN_WORD = 6 };          // six registers, the return address, and one to align
#else
asm(".text\n.p2align 4\n.globl emulate_switch\n.hidden emulate_switch\n.type emulate_switch,%function\nemulate_switch:\n"
    "sub sp,sp,#160\nstp x19,x20,[sp]\nstp x21,x22,[sp,#16]\nstp x23,x24,[sp,#32]\nstp x25,x26,[sp,#48]\n"
    "stp x27,x28,[sp,#64]\nstp x29,x30,[sp,#80]\nstp d8,d9,[sp,#96]\nstp d10,d11,[sp,#112]\nstp d12,d13,[sp,#128]\n"
    "stp d14,d15,[sp,#144]\nmov x9,sp\nstr x9,[x0]\nmov sp,x1\n"
    "ldp x19,x20,[sp]\nldp x21,x22,[sp,#16]\nldp x23,x24,[sp,#32]\nldp x25,x26,[sp,#48]\n"
    "ldp x27,x28,[sp,#64]\nldp x29,x30,[sp,#80]\nldp d8,d9,[sp,#96]\nldp d10,d11,[sp,#112]\nldp d12,d13,[sp,#128]\n"
    "ldp d14,d15,[sp,#144]\nadd sp,sp,#160\nret\n.size emulate_switch,.-emulate_switch\n");
enum { SAVED_WORDS = 20, RETURN_WORD = 11 };
#endif

static void prepare(emulate::fiber *f, void (*entry)())
{
    uintptr_t *word = reinterpret_cast<uintptr_t *>(f->stack + f->bytes) - SAVED_WORDS;
    for (int i = 0; i < SAVED_WORDS; i++)
        word[i] = 0;
    word[RETURN_WORD] = reinterpret_cast<uintptr_t>(entry);
    f->sp = word;
}

static void exchange(emulate::fiber *from, emulate::fiber *to) { emulate_switch(&from->sp, to->sp); }
#else
#include <ucontext.h>

static ucontext_t *context(emulate::fiber *f)
{
    if (!f->sp)
        f->sp = new ucontext_t;
    return static_cast<ucontext_t *>(f->sp);
}

static void prepare(emulate::fiber *f, void (*entry)())
{
    ucontext_t *u = context(f);
    getcontext(u);
    u->uc_stack.ss_sp = f->stack;
    u->uc_stack.ss_size = f->bytes;
    u->uc_link = nullptr;
    makecontext(u, entry, 0);
}

static void exchange(emulate::fiber *from, emulate::fiber *to) { swapcontext(context(from), context(to)); }
#endif

namespace emulate {

fiber *fiber_new(void (*entry)())
{
    size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void *m = mmap(nullptr, STACK + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED)
        return nullptr;
    mprotect(m, page, PROT_NONE);
    char *bottom = static_cast<char *>(m) + page;             // the fiber itself lies below its stack
    fiber *f = new (bottom) fiber{nullptr, bottom + sizeof(fiber), STACK - sizeof(fiber), nullptr};
    prepare(f, entry);
    return f;
}

void fiber_restart(fiber *f, void (*entry)())
{
    unpoison(f->stack, f->bytes);                            // the frames that it was left in are gone
    f->shadow = nullptr;
    prepare(f, entry);
}

void fiber_switch(fiber *from, fiber *to)
{
#ifdef EMULATE_POISON
    __sanitizer_start_switch_fiber(&from->shadow, to->stack, to->bytes);
#endif
    exchange(from, to);
#ifdef EMULATE_POISON
    __sanitizer_finish_switch_fiber(from->shadow, nullptr, nullptr);
#endif
}

void fiber_entered(fiber *from)
{
#ifdef EMULATE_POISON
    const void *stack;
    size_t bytes;
    __sanitizer_finish_switch_fiber(nullptr, &stack, &bytes);
    from->stack = const_cast<char *>(static_cast<const char *>(stack));
    from->bytes = bytes;
#else
    static_cast<void>(from);
#endif
}

}  // namespace emulate
