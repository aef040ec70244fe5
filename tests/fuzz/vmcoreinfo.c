/*
 * Fuzz target: VMCOREINFO notes, and the page tables that they lead to
 * FUZZ SOURCES: system/vmcoreinfo-note.c target/i386/page-table-root.c
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "system/vmcoreinfo-note.h"
#include "target/i386/page-table-root.h"
#include "fuzz.h"

#define START   24      /* of the text in a note */

/*
 * The model: a second parser, of a copy of the note that is as long as the
 * note, so that the sanitizer sees whoever reads behind it.
 */
static bool model_text(const uint8_t *note, size_t size, bool big_endian,
                       uint64_t *len)
{
    if (size < START || memcmp(note + 12, "VMCOREINFO", 11)) {
        return false;
    }
    *len = big_endian ? ldl_be_p(note + 4) : ldl_le_p(note + 4);
    return (big_endian ? ldl_be_p(note) : ldl_le_p(note)) == 11 &&
           *len <= size - START;
}

/* The value of the first line that starts with @key, as a string; or NULL */
static char *model_value(const VmcoreinfoText *text, const char *key)
{
    size_t key_len = strlen(key), at = 0, end;

    while (at < text->len) {
        end = at;
        while (end < text->len && text->text[end] != '\n') {
            end++;
        }
        if (end - at >= key_len && !memcmp(text->text + at, key, key_len)) {
            at += key_len;
            /* not with a zero byte in it */
            return memchr(text->text + at, 0, end - at) ? g_strdup("") :
                   g_strndup(text->text + at, end - at);
        }
        at = end + 1;
    }
    return NULL;
}

static bool model_number(const VmcoreinfoText *text, int base, const char *key,
                         uint64_t *number)
{
    g_autofree char *value = model_value(text, key);
    const char *digits = value;
    char *end;

    if (!value || strlen(value) > 20) {
        return false;
    }
    if (*digits == '-') {
        if (base == 16) {
            return false;
        }
        digits++;
    }
    /* a prefix is accepted, as Linux once wrote it */
    if (base == 16 && g_ascii_strncasecmp(digits, "0x", 2) == 0) {
        digits += g_ascii_isxdigit(digits[2]) ? 2 : 0;
    }
    if (!*digits ||
        digits[strspn(digits, base == 16 ? "0123456789abcdefABCDEF" :
                                           "0123456789")]) {
        return false;
    }
    errno = 0;
    *number = base == 16 ? g_ascii_strtoull(value, &end, 16) :
                           (uint64_t)g_ascii_strtoll(value, &end, 10);
    return !errno && !*end;
}

static void check_lookups(const VmcoreinfoText *text, const char *name)
{
    g_autofree char *number_key = g_strdup_printf("NUMBER(%s)=", name);
    g_autofree char *symbol_key = g_strdup_printf("SYMBOL(%s)=", name);
    uint64_t wanted, symbol;
    int64_t number;
    Error *err = NULL;
    bool ok;

    ok = vmcoreinfo_number(text, name, &number, &err);
    CHECK(ok == !err);
    CHECK(ok == model_number(text, 10, number_key, &wanted));
    CHECK(!ok || (uint64_t)number == wanted);
    error_free(err);
    err = NULL;
    ok = vmcoreinfo_symbol(text, name, &symbol, &err);
    CHECK(ok == !err);
    CHECK(ok == model_number(text, 16, symbol_key, &wanted));
    CHECK(!ok || symbol == wanted);
    error_free(err);
}

/* Whatever the note says, a root is a page of physical memory */
static void check_page_tables(const VmcoreinfoText *text)
{
    uint64_t va, base;
    Error *err = NULL;
    hwaddr root;
    bool la57;

    if (linux_page_tables_root(text, &root, &err)) {
        CHECK(!err && root < 1ULL << 52 && root % 4096 == 0);
        CHECK(model_number(text, 16, "SYMBOL(init_top_pgt)=", &va) ||
              model_number(text, 16, "SYMBOL(swapper_pg_dir)=", &va));
        CHECK(model_number(text, 10, "NUMBER(phys_base)=", &base));
        CHECK(va - 0xffffffff80000000 < 1 << 30);
        CHECK(root == va - 0xffffffff80000000 + base);
    }
    error_free(err);
    linux_page_tables_la57(text, &la57, NULL);
    linux_page_tables_check_mask(text, 1ULL << 51, NULL);
}

static void check_note(const uint8_t *note, size_t size, bool big_endian)
{
    VmcoreinfoText text = {};
    Error *err = NULL;
    uint64_t len;
    bool ok = vmcoreinfo_note_text(note, size, big_endian, &text, &err);

    CHECK(ok == !err);
    CHECK(ok == model_text(note, size, big_endian, &len));
    error_free(err);
    if (ok) {
        CHECK(text.text == (const char *)note + START && text.len == len);
        check_lookups(&text, "a");
        check_lookups(&text, "phys_base");
        check_lookups(&text, "");
        check_page_tables(&text);
    }
}

/* The input as it is, and with heads that make it a note */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree uint8_t *note = g_malloc(START + size);

    check_note(data, size, true);
    check_note(data, size, false);
    memcpy(note, "\v\0\0\0" "...." "\0\0\0\0" "VMCOREINFO\0", START);
    stl_le_p(note + 4, size);
    memcpy(note + START, data, size);
    check_note(note, START + size, false);
    /* and one that claims more or less than there is */
    stl_le_p(note + 4, size ? size + (int8_t)*data : -1);
    check_note(note, START + size, false);
    return 0;
}
