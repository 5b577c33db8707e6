// lines.h: the source line of an address of code.
#ifndef EMULATE_LINES_H
#define EMULATE_LINES_H

#include "types.h"

namespace emulate {

// The line that holds the instruction before pc, a return address: {"?", 0} without debug information or addr2line.
where where_of(uintptr_t pc);
// A number that stands for a pc, for what knows its line: where_of() gives it back.
uintptr_t site_of(where at);
// A pc as 32 bits, and back.
uint32_t short_pc(uintptr_t pc);
uintptr_t long_pc(uint32_t pc);
// The mangled name of the function at pc, from the program's symbols; "?": it has none.
const char *symbol_of(uintptr_t pc);
// Does the program itself (code, constants, variables) lie at a?
bool in_program(uintptr_t a);
// The kernel at `function` with its template's parameters: conv_gemm<8,8>; `text` where there is no symbol.
const char *kernel_name(const void *function, const char *text);

}  // namespace emulate
#endif
