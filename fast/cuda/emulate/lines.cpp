// lines.cpp: source lines by addr2line, which comes with every linker; the program's extent and symbols by its own headers.
#include "lines.h"

#include <cxxabi.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <string>

namespace emulate {

struct extent { uintptr_t load, low, high; };

// The first object told is the program.
static int take_program(dl_phdr_info *info, size_t, void *to)
{
    extent *e = static_cast<extent *>(to);
    *e = {info->dlpi_addr, UINTPTR_MAX, 0};
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD) {
            uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, end = begin + info->dlpi_phdr[i].p_memsz;
            e->low = begin < e->low ? begin : e->low;
            e->high = end > e->high ? end : e->high;
        }
    return 1;
}

static const extent &program()
{
    static const extent e = [] { extent x; dl_iterate_phdr(take_program, &x); return x; }();
    return e;
}

bool in_program(uintptr_t a) { return a >= program().low && a < program().high; }

// Sites are the numbers from 1: no code lies there.
enum { SITES = 1 << 13 };
static where sites[SITES];

uintptr_t site_of(where at)
{
    uintptr_t i = (reinterpret_cast<uintptr_t>(at.file) / 8 * 31 + static_cast<unsigned>(at.line)) % SITES;
    while (sites[i].file && (sites[i].file != at.file || sites[i].line != at.line))
        i = (i + 1) % SITES;
    sites[i] = at;
    return i + 1;
}

uint32_t short_pc(uintptr_t pc) { return static_cast<uint32_t>(pc <= SITES ? pc : pc - program().low + SITES); }
uintptr_t long_pc(uint32_t pc) { return pc <= SITES ? pc : program().low - SITES + pc; }

where where_of(uintptr_t pc)
{
    if (pc && pc <= SITES)
        return sites[pc - 1];
    static std::map<uintptr_t, std::pair<std::string, int>> known;
    auto &line = known[pc];
    if (line.first.empty()) {
        line = {"?", 0};
        char program_file[4096], command[4300], answer[4096] = "";
        ssize_t length = readlink("/proc/self/exe", program_file, sizeof program_file - 1);
        program_file[length > 0 ? length : 0] = 0;
        snprintf(command, sizeof command, "addr2line -e '%s' %zx 2>/dev/null", program_file, size_t{pc - 1 - program().load});
        FILE *f = length > 0 ? popen(command, "r") : nullptr;
        char *colon = f && fgets(answer, sizeof answer, f) ? strrchr(answer, ':') : nullptr;
        if (f)
            pclose(f);
        if (colon && atoi(colon + 1) > 0)
            line = {std::string(answer, colon), atoi(colon + 1)};
    }
    return {line.first.c_str(), line.second};
}

// The symbols, from the program's own file.
static void read_symbols(std::map<uintptr_t, std::string> *to)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat s;
    void *m = fd >= 0 && fstat(fd, &s) == 0 ? mmap(nullptr, static_cast<size_t>(s.st_size), PROT_READ, MAP_PRIVATE, fd, 0)
                                            : MAP_FAILED;
    if (fd >= 0)
        close(fd);
    if (m == MAP_FAILED)
        return;
    const char *file = static_cast<const char *>(m);
    const ElfW(Ehdr) *header = static_cast<const ElfW(Ehdr) *>(m);
    const ElfW(Shdr) *sections = reinterpret_cast<const ElfW(Shdr) *>(file + header->e_shoff);
    for (int i = 0; i < header->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB)
            continue;
        const ElfW(Sym) *symbols = reinterpret_cast<const ElfW(Sym) *>(file + sections[i].sh_offset);
        const char *names = file + sections[sections[i].sh_link].sh_offset;
        for (size_t k = 0; k < sections[i].sh_size / sizeof *symbols; k++)
            if ((symbols[k].st_info & 15) == STT_FUNC)
                (*to)[program().load + symbols[k].st_value] = names + symbols[k].st_name;
    }
    munmap(m, static_cast<size_t>(s.st_size));
}

const char *symbol_of(uintptr_t pc)
{
    static std::map<uintptr_t, std::string> symbols;
    if (symbols.empty())
        read_symbols(&symbols);
    auto found = symbols.find(pc);
    return found == symbols.end() ? "?" : found->second.c_str();
}

// icd_emul::conv_gemm<8, 8>(gemm_shape, float const*) as conv_gemm<8,8>: no result, no namespace, no casts, no arguments.
static std::string readable(const char *demangled)
{
    std::string from = demangled, to;
    size_t space = from.find("icd_emul::");
    for (size_t i = space == std::string::npos ? 0 : space + 10, depth = 0; i < from.size(); i++) {
        depth += from[i] == '<';
        depth -= from[i] == '>';
        if (from[i] == '(' && !depth)
            break;
        if (from[i] == '(')
            i = from.find(')', i);
        else if (from[i] != ' ')
            to += from[i];
    }
    return to;
}

const char *kernel_name(const void *function, const char *text)
{
    static std::map<const void *, std::string> names;
    std::string &name = names[function];
    if (name.empty()) {
        char *demangled = abi::__cxa_demangle(symbol_of(reinterpret_cast<uintptr_t>(function)), nullptr, nullptr, nullptr);
        name = demangled ? readable(demangled) : text;
        free(demangled);
    }
    return name.c_str();
}

}  // namespace emulate
