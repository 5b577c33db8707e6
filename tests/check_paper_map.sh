#!/bin/sh
# check_paper_map.sh: everything that paper_map.md names exists, and everything that must have a row there has one.
#   files, symbols (defined in that file), settings and their values, presets, tests (defined and run), rows of `icd verify`
#   every key cited in a comment of the code, ranges spelt out; every numbered equation, algorithm line, table row and
#   hyperparameter of the paper; no key twice; the index and the rows agree.
# check_paper_map.sh --find KEY prints a key's row and, as file:line, what it names and where the code cites it.
cd "$(dirname "$0")/.." || exit 1
LC_ALL=C
export LC_ALL
case ${1:-} in
    '') mode=check key= ;;
    --find) mode=find key=${2:-} ;;
    *) echo "usage: check_paper_map.sh [--find KEY]"; exit 2 ;;
esac
sources=$(find icd.c common ref fast cli verify data tests -name '*.[ch]' -o -name '*.def' 2>/dev/null | sort | tr '\n' ' ')

awk -v mode=$mode -v wanted="$key" -v sources="$sources" '
function wrong(what)
{
    if (!quiet) {
        print "paper_map.md" (at ? ":" at : "") ": " what
        bad++
    }
}

# Read a file once. lines[file]: how many; -1: there is none.
function load(file,    n, s)
{
    if (file in lines)
        return lines[file] >= 0
    n = 0
    while ((s = (getline line < file)) > 0)
        text[file, ++n] = line
    close(file)
    lines[file] = s < 0 ? -1 : n
    return s >= 0
}

function line_with(file, what,    i)
{
    for (i = 1; i <= lines[file]; i++)
        if (index(text[file, i], what))
            return i
    return 0
}

# Does line l define s? A function (not its prototype), a type, a table, a macro, an enum constant; in the three tables, an entry.
function defines(file, l, s)
{
    if (file == "common/config.c" && l ~ "^    ((INT|REAL|BOOL|CHOICE)\\(|[{] )\"" s "\",")
        return 1
    if ((file == "common/presets.c" || file == "common/arch_builtin.c") && l ~ "^    [{] \"" s "\",")
        return 1
    if (s !~ /^[A-Za-z_][A-Za-z_0-9]*$/)
        return 0
    if (l ~ "^[ \t]*#define[ \t]+" s "([ \t(]|$)")
        return 1
    if (l ~ "^[a-z].*[ *]" s "\\(" && l !~ /;[ \t]*(\/\*.*)?$/)
        return file ~ /\.c$/ || l ~ /^static/
    if (l ~ "^(} |typedef .*[ }*])" s ";" || l ~ "^[a-z].*[ *]" s "(\\[[^]]*\\])* =")
        return 1
    if (s !~ /^[A-Z_0-9]+$/)
        return 0
    return l ~ "enum [{].*[ ,]" s "([ ,}]|$)" || (l ~ "^[ \t]+(.*, *)?" s "([ ,=]|$)" && l !~ /^[^\/]*[(;]/)
}

function definition(file, s,    i)
{
    for (i = 1; i <= lines[file]; i++)
        if (defines(file, text[file, i], s))
            return i
    return 0
}

function setting(s) { return load("common/config.c") ? definition("common/config.c", s) : 0 }

# May setting s have value v?
function takes(s, v,    l, part, n, i)
{
    l = text["common/config.c", setting(s)] text["common/config.c", setting(s) + 1]
    if (l ~ /^    BOOL|^    [{] "[a-z_]*", ICD_SET_BOOL/)
        return v == "on" || v == "off"
    if (match(l, /"[a-z0-9]+([|][a-z0-9]+)+"/)) {
        n = split(substr(l, RSTART + 1, RLENGTH - 2), part, "|")
        for (i = 1; i <= n; i++)
            if (part[i] == v)
                return 1
        return 0
    }
    return v ~ /^-?[0-9.]+(e-?[0-9]+)?$/ || index(l, "\"" v "\"") > 0
}

# Where is it? Sets found to "file:line" for what has a line. Complains of what is not there.
function resolve(token,    file, name, colon, value, i, n, f)
{
    found = ""
    kind = "check"
    if (token ~ /^\[(ICD|GL|ANA):[^]]*\]$/ || token ~ /^(ICD|GL|ANA):/) {
        kind = "key"
        gsub(/[][]/, "", token)
        n = expand(token)
        for (i = 1; i <= n; i++)
            named[keys[i]] = at
        return
    }
    if (token ~ /^icd verify: /) {
        n = split(sources, f, " ")
        for (i = 1; i <= n && found == ""; i++)
            if (f[i] ~ /^verify\/.*\.c$/ && load(f[i]) && (value = line_with(f[i], "\"" substr(token, 13) "\"")))
                found = f[i] ":" value
        if (found == "")
            wrong("`" token "`: verify/ compares nothing of that name")
        return
    }
    if (token ~ /^icd [a-z]+$/) {
        kind = "word"
        if (!load("cli/" substr(token, 5) ".c"))
            wrong("`" token "`: there is no such command")
        return
    }
    if (token ~ /^(make|sh) / || token ~ /^--/) {
        kind = "word"
        return
    }
    if (token ~ /\// ) {
        colon = index(token, ":")
        file = colon ? substr(token, 1, colon - 1) : token
        name = colon ? substr(token, colon + 1) : ""
        kind = file ~ /^tests\// ? "check" : "code"
        if (!load(file)) {
            wrong("`" token "`: there is no file " file)
            return
        }
        i = 1
        if (name != "" && file ~ /^tests\/test_.*\.c$/) {
            i = line_with(file, "TEST(" name ")")
            if (i && !line_with(file, "T(" name "),") && !line_with(file, "T(" name "))")) {
                wrong("`" token "`: the test is never run: TEST_MAIN does not name it")
                return
            }
        } else if (name != "" && file ~ /\.py$/) {
            i = line_with(file, "case(\"" name "\",")
        } else if (name != "") {
            i = definition(file, name)
        }
        if (!i)
            wrong("`" token "`: " file " does not define " name)
        found = file ":" i
        return
    }
    kind = "code"
    name = token
    value = ""
    if ((i = index(token, " = ")) > 0) {
        name = substr(token, 1, i - 1)
        value = substr(token, i + 3)
    }
    if (name ~ /^[a-z][a-z_0-9]*$/ && setting(name)) {
        found = "common/config.c:" setting(name)
        if (value != "" && !takes(name, value))
            wrong("`" token "`: the setting takes no such value")
        return
    }
    if (value == "" && name ~ /^[a-z][a-z0-9-]*$/) {
        if (load("common/presets.c") && (i = definition("common/presets.c", name)))
            found = "common/presets.c:" i
        else if (load("common/arch_builtin.c") && (i = definition("common/arch_builtin.c", name)))
            found = "common/arch_builtin.c:" i
    }
    if (found == "")
        wrong("`" token "`: no file, setting, preset, architecture, key or command has that name")
}

# "ICD:alg1.8-11" -> keys[1..n] = ICD:alg1.8 ... ICD:alg1.11
function expand(key,    first, stem, range, n)
{
    if (match(key, /[0-9]+-[0-9]+$/)) {
        stem = substr(key, 1, RSTART - 1)
        split(substr(key, RSTART), range, "-")
        for (first = range[1] + 0; first <= range[2] + 0; first++)
            keys[++n] = stem first
        if (n)
            return n
    }
    keys[1] = key
    return 1
}

function trim(s) { sub(/^ +/, "", s); sub(/ +$/, "", s); return s }

function read_map(    i, cells, cell, part, key, tokens, numbers, columns, line)
{
    for (at = 1; at <= lines["paper_map.md"]; at++) {
        line = text["paper_map.md", at]
        tokens = split(line, part, "`")
        if (tokens > 0 && tokens % 2 == 0)
            wrong("an odd number of backticks")
        if (line ~ /^\|/) {
            cells = split(line, cell, "|")
            if (columns && cells != columns)
                wrong("a row of " (cells - 2) " cells in a table of " (columns - 2))
            columns = cells
        } else {
            columns = 0
        }
        if (line ~ /^\| `(ICD|GL|ANA):/) {
            key = part[2]
            if (key in row)
                wrong(key " has a row already, line " row[key])
            row[key] = at
            order[++rows] = key
            place[key] = trim(cell[3])
            code[key] = trim(cell[4])
            check[key] = trim(cell[5])
            remark[key] = trim(cell[6])
        }
        if (line ~ /^\| \([0-9]+\)/) {
            numbers = cell[2]
            while (match(numbers, /[0-9]+/)) {
                indexed[++entries] = substr(numbers, RSTART, RLENGTH)
                index_code[entries] = trim(cell[4])
                index_at[entries] = at
                numbers = substr(numbers, RSTART + RLENGTH)
            }
        }
        if (mode == "check")
            for (i = 2; i <= tokens; i += 2)
                resolve(part[i])
    }
    at = 0
}

# cited[key]: lines of the code whose comments cite it, as "file:line".
function read_code(    n, f, i, k, rest, key, m)
{
    n = split(sources, f, " ")
    for (i = 1; i <= n; i++) {
        if (!load(f[i]))
            continue
        for (k = 1; k <= lines[f[i]]; k++) {
            rest = text[f[i], k]
            while (match(rest, /\[(ICD|GL|ANA):[^]]*\]/)) {
                key = substr(rest, RSTART + 1, RLENGTH - 2)
                rest = substr(rest, RSTART + RLENGTH)
                for (m = expand(key); m; m--)
                    cited[keys[m]] = cited[keys[m]] f[i] ":" k " "
            }
        }
    }
}

# stem1 .. stemN must have rows; and comments that cite them in a file: the one given, or with "its" one that the row names.
function want(stem, first, last, file,    i, f, n, where, got)
{
    for (i = first; i <= last; i++) {
        if (!(stem i in row))
            wrong("no row for " stem i)
        got = file == ""
        n = split(cited[stem i], where, " ")
        for (; n; n--) {
            f = substr(where[n], 1, index(where[n], ":") - 1)
            got = got || f == file || (file == "its" && index(code[stem i], "`" f ":"))
        }
        if (!got)
            wrong("no comment of " (file == "its" ? "the code" : file) " cites [" stem i "]")
    }
}

# The code cell must name code, or send to another row; so must the check cell.
function has(cell, wanted_kind,    n, part, i, got)
{
    quiet = 1                          # read_map() has complained already
    n = split(cell, part, "`")
    for (i = 2; i <= n; i += 2) {
        resolve(part[i])
        if (kind == wanted_kind || kind == "key")
            got = 1
    }
    quiet = 0
    return got
}

function check_all(    i, key, n, b2)
{
    for (key in named)
        if (!(key in row)) {
            at = named[key]
            wrong("no row for " key)
        }
    for (key in cited)
        if (!(key in row)) {
            at = 0
            wrong("no row for " key ", cited in " cited[key])
        }
    at = 0
    want("ICD:", 1, 18, "")            # what the paper numbers; its pseudocode and tables have as many lines
    want("ICD:", 5, 8, "its")
    want("ICD:", 12, 12, "its")
    want("ICD:", 14, 14, "its")
    want("ICD:", 18, 18, "its")
    want("ICD:alg1.", 1, 19, "")
    want("ICD:alg1.", 4, 18, "common/algorithm1.c")
    want("ICD:alg2.", 1, 10, "")
    want("ICD:alg2.", 2, 8, "common/algorithm2.c")
    want("ICD:table5.", 1, 12, "")
    want("ICD:table6.", 1, 11, "")
    want("GL:", 1, 3, "")
    n = split("steps step_size noise color flip crop", b2, " ")
    for (i = 1; i <= n; i++) {
        want("ICD:B.2.cifar10." b2[i], "", "", "")
        want("ICD:B.2.celeba." b2[i], "", "", "")
    }
    for (i = 1; i <= rows; i++) {
        key = order[i]
        at = row[key]
        if (!has(code[key], "code"))
            wrong(key " names no code")
        if (!has(check[key], "check"))
            wrong(key " names no check")
    }
    for (i = 1; i <= entries; i++) {
        at = index_at[i]
        if (!index(code["ICD:" indexed[i]], index_code[i]))
            wrong("the index has " index_code[i] " for (" indexed[i] "), and its row has not")
        seen[indexed[i]] = 1
    }
    at = 0
    for (i = 1; i <= 18; i++)
        if (!(i in seen))
            wrong("the index has no (" i ")")
}

function show(where,    part, shown)
{
    split(where, part, ":")
    shown = text[part[1], part[2]]
    gsub(/  +/, " ", shown)
    print "    " where ": " trim(shown)
}

function find(key,    i, n, part, f)
{
    sub(/^\[/, "", key)
    sub(/\]$/, "", key)
    if (!(key in row)) {
        print (key == "" ? "" : "There is no row " key ". ") "The keys:"
        for (i = 1; i <= rows; i++)
            printf "%s%s", order[i], (i % 8 == 0 || i == rows ? "\n" : "  ")
        return 1
    }
    print key ": " place[key]
    print "  code: " code[key]
    print "  check: " check[key]
    print "  the released code, and ours: " remark[key]
    n = split(code[key], part, "`")
    for (i = 2; i <= n; i += 2) {
        resolve(part[i])
        if (kind == "code" && found != "")
            show(found)
    }
    if (key in cited)
        print "  cited in"
    n = split(cited[key], f, " ")
    for (i = 1; i <= n; i++)
        show(f[i])
    return 0
}

BEGIN {
    if (!load("paper_map.md")) {
        print "paper_map.md is missing"
        exit 1
    }
    read_map()
    read_code()
    if (mode == "find")
        exit find(wanted)
    check_all()
    if (bad) {
        print bad " faults"
        exit 1
    }
    print rows " rows, all they name exists"
}'
