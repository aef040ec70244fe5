/*
 * Parsing VMCOREINFO, and finding the page tables with it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qapi/error.h"
#include "system/vmcoreinfo-note.h"
#include "target/i386/page-table-root.h"

#define NAME        "VMCOREINFO"
#define TEXT_OFFSET 24

/* What a kernel writes, shortened */
#define TEXT                                            \
    "OSRELEASE=6.1.0-35-cloud-amd64\n"                  \
    "PAGESIZE=4096\n"                                   \
    "SYMBOL(init_uts_ns)=ffffffff96c14e80\n"            \
    "SYMBOL(swapper_pg_dir)=ffffffff96c10000\n"         \
    "NUMBER(phys_base)=-184549376\n"                    \
    "SYMBOL(init_top_pgt)=ffffffff96c10000\n"           \
    "NUMBER(pgtable_l5_enabled)=0\n"                    \
    "KERNELOFFSET=14000000\n"                           \
    "NUMBER(sme_mask)=2251799813685248\n"               \
    "CRASHTIME=1700000000\n"

static void assert_says(Error *err, const char *what)
{
    g_assert_nonnull(err);
    if (!strstr(error_get_pretty(err), what)) {
        g_test_message("error: %s", error_get_pretty(err));
    }
    g_assert_nonnull(strstr(error_get_pretty(err), what));
    error_free(err);
}

/*
 * A note at the very end of an allocation of @size bytes, so that valgrind
 * and sanitizers detect reads beyond it
 */
static uint8_t *make_note(const char *text, size_t len, bool big_endian,
                          size_t *size)
{
    uint8_t *note;

    *size = TEXT_OFFSET + len;
    note = g_malloc0(*size);
    if (big_endian) {
        stl_be_p(note, sizeof(NAME));
        stl_be_p(note + 4, len);
    } else {
        stl_le_p(note, sizeof(NAME));
        stl_le_p(note + 4, len);
    }
    memcpy(note + 12, NAME, sizeof(NAME));
    memcpy(note + TEXT_OFFSET, text, len);
    return note;
}

static void test_note(const void *opaque)
{
    bool big_endian = GPOINTER_TO_INT(opaque);
    size_t size;
    g_autofree uint8_t *note = make_note(TEXT, strlen(TEXT), big_endian,
                                         &size);
    VmcoreinfoText text;
    Error *err = NULL;

    g_assert_true(vmcoreinfo_note_text(note, size, big_endian, &text,
                                       &error_abort));
    g_assert_cmpmem(text.text, text.len, TEXT, strlen(TEXT));
    g_assert_false(vmcoreinfo_note_text(note, size, !big_endian, &text,
                                        &err));
    assert_says(err, "no ELF note");
}

static void test_note_with_padding(void)
{
    size_t size;
    g_autofree uint8_t *note = make_note(TEXT "\0\0\0\0", strlen(TEXT) + 4,
                                         false, &size);
    VmcoreinfoText text;

    stl_le_p(note + 4, strlen(TEXT));
    g_assert_true(vmcoreinfo_note_text(note, size, false, &text,
                                       &error_abort));
    g_assert_cmpint(text.len, ==, strlen(TEXT));
}

static void test_note_cut_short(void)
{
    size_t size;
    g_autofree uint8_t *whole = make_note(TEXT, strlen(TEXT), false, &size);
    VmcoreinfoText text;

    for (size_t cut = 0; cut < size; cut++) {
        g_autofree uint8_t *note = g_memdup2(whole, cut);
        Error *err = NULL;

        g_assert_false(vmcoreinfo_note_text(note, cut, false, &text, &err));
        assert_says(err, cut < TEXT_OFFSET ? "no ELF note" : "has room for");
    }
}

static void test_note_of_absurd_sizes(void)
{
    static const uint32_t sizes[] = { 0x7fffffff, 0xffffffff, 0xfffffffc };
    size_t size;
    g_autofree uint8_t *note = make_note(TEXT, strlen(TEXT), false, &size);
    VmcoreinfoText text;
    Error *err = NULL;

    for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
        stl_le_p(note + 4, sizes[i]);
        g_assert_false(vmcoreinfo_note_text(note, size, false, &text, &err));
        assert_says(err, "has room for");
        err = NULL;
    }
    stl_le_p(note + 4, strlen(TEXT));
    for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
        stl_le_p(note, sizes[i]);
        g_assert_false(vmcoreinfo_note_text(note, size, false, &text, &err));
        assert_says(err, "no ELF note");
        err = NULL;
    }
}

static void test_note_of_other_name(void)
{
    size_t size;
    g_autofree uint8_t *note = make_note(TEXT, strlen(TEXT), false, &size);
    VmcoreinfoText text;
    Error *err = NULL;

    note[12 + sizeof(NAME) - 1] = 'X';
    g_assert_false(vmcoreinfo_note_text(note, size, false, &text, &err));
    assert_says(err, "no ELF note");
}

static VmcoreinfoText text_of(const char *text)
{
    return (VmcoreinfoText) { text, strlen(text) };
}

static void test_values(void)
{
    VmcoreinfoText text = text_of(TEXT);
    uint64_t address;
    int64_t number;

    g_assert_true(vmcoreinfo_symbol(&text, "init_uts_ns", &address,
                                    &error_abort));
    g_assert_cmphex(address, ==, 0xffffffff96c14e80);
    g_assert_true(vmcoreinfo_number(&text, "phys_base", &number,
                                    &error_abort));
    g_assert_cmpint(number, ==, -184549376);
}

static void test_value_at_end_without_newline(void)
{
    const char *whole = "A=1\nNUMBER(x)=12";
    int64_t number;

    for (size_t len = 0; len <= strlen(whole); len++) {
        g_autofree char *copy = g_memdup2(whole, len);
        VmcoreinfoText text = { copy, len };
        bool found = vmcoreinfo_number(&text, "x", &number, NULL);

        g_assert_cmpint(found, ==, len > strlen("A=1\nNUMBER(x)="));
    }
    g_assert_cmpint(number, ==, 12);
}

static void test_value_is_absent(void)
{
    /* as part of a line, of another kind, and without a line of its own */
    VmcoreinfoText text = text_of("XNUMBER(x)=1\nSYMBOL(x)=1\nNUMBER(x)\n"
                                  "NUMBER(xx)=1\n\n\nNUMBER(x=1\n");
    Error *err = NULL;
    int64_t number;

    g_assert_false(vmcoreinfo_number(&text, "x", &number, &err));
    assert_says(err, "has no NUMBER(x)");
}

static void test_first_of_several_values(void)
{
    VmcoreinfoText text = text_of("NUMBER(x)=1\nNUMBER(x)=2\n");
    int64_t number;

    g_assert_true(vmcoreinfo_number(&text, "x", &number, &error_abort));
    g_assert_cmpint(number, ==, 1);
}

static void test_value_is_no_number(const void *value)
{
    g_autofree char *lines = g_strdup_printf("NUMBER(x)=%s\nSYMBOL(x)=%s\n",
                                             (char *)value, (char *)value);
    VmcoreinfoText text = text_of(lines);
    Error *err = NULL;
    int64_t number;
    uint64_t address;

    g_assert_false(vmcoreinfo_number(&text, "x", &number, &err));
    assert_says(err, "has a NUMBER(x) that is no");
    err = NULL;
    g_assert_false(vmcoreinfo_symbol(&text, "x", &address, &err));
    assert_says(err, "has a SYMBOL(x) that is no");
}

static void test_value_with_nul(void)
{
    VmcoreinfoText text = { "NUMBER(x)=1\0002\n", 14 };
    int64_t number;

    g_assert_false(vmcoreinfo_number(&text, "x", &number, NULL));
}

static void test_root(void)
{
    VmcoreinfoText text = text_of(TEXT);
    hwaddr root;
    bool la57;

    g_assert_true(linux_page_tables_root(&text, &root, &error_abort));
    g_assert_cmphex(root, ==, 0x16c10000 - 184549376);
    g_assert_true(linux_page_tables_la57(&text, &la57, &error_abort));
    g_assert_false(la57);
    g_assert_true(linux_page_tables_check_mask(&text, 1ULL << 51,
                                               &error_abort));
}

static void test_root_by_either_name(void)
{
    VmcoreinfoText one = text_of("SYMBOL(init_top_pgt)=ffffffff81001000\n"
                                 "NUMBER(phys_base)=4096\n");
    VmcoreinfoText other = text_of("SYMBOL(swapper_pg_dir)=ffffffff81001000\n"
                                   "NUMBER(phys_base)=4096\n");
    hwaddr root;

    g_assert_true(linux_page_tables_root(&one, &root, &error_abort));
    g_assert_cmphex(root, ==, 0x1002000);
    g_assert_true(linux_page_tables_root(&other, &root, &error_abort));
    g_assert_cmphex(root, ==, 0x1002000);
}

/* A kernel that lies must not send the walker anywhere odd */
static void test_root_cannot_be(const void *opaque)
{
    VmcoreinfoText text = text_of(opaque);
    Error *err = NULL;
    hwaddr root;

    g_assert_false(linux_page_tables_root(&text, &root, &err));
    assert_says(err, "VMCOREINFO ");
}

static void test_la57(void)
{
    VmcoreinfoText yes = text_of("NUMBER(pgtable_l5_enabled)=1\n");
    VmcoreinfoText odd = text_of("NUMBER(pgtable_l5_enabled)=2\n");
    VmcoreinfoText old = text_of("NUMBER(phys_base)=0\n");
    Error *err = NULL;
    bool la57;

    g_assert_true(linux_page_tables_la57(&yes, &la57, &error_abort));
    g_assert_true(la57);
    g_assert_false(linux_page_tables_la57(&odd, &la57, &err));
    assert_says(err, "must be 0 or 1");
    err = NULL;
    g_assert_false(linux_page_tables_la57(&old, &la57, &err));
    assert_says(err, "has no NUMBER(pgtable_l5_enabled)");
}

static void test_mask(void)
{
    VmcoreinfoText text = text_of(TEXT);
    VmcoreinfoText none = text_of("NUMBER(sme_mask)=0\n");
    VmcoreinfoText old = text_of("NUMBER(phys_base)=0\n");
    Error *err = NULL;

    g_assert_false(linux_page_tables_check_mask(&text, 1ULL << 47, &err));
    assert_says(err, "0x8000000000000");
    g_assert_true(linux_page_tables_check_mask(&text, 0, &error_abort));
    g_assert_true(linux_page_tables_check_mask(&none, 1ULL << 47,
                                               &error_abort));
    g_assert_true(linux_page_tables_check_mask(&old, 1ULL << 47,
                                               &error_abort));
}

/* Replace any bytes by others: there must be a result or an error */
static void test_noise(void)
{
    for (int round = 0; round < 20000; round++) {
        size_t size;
        g_autofree uint8_t *note = make_note(TEXT, strlen(TEXT), false, &size);
        VmcoreinfoText text;
        hwaddr root;
        bool la57;

        for (int i = g_test_rand_int_range(1, 16); i; i--) {
            note[g_test_rand_int_range(0, size)] = g_test_rand_int();
        }
        size = g_test_rand_int_range(0, size + 1);
        note = g_realloc(note, size);
        if (vmcoreinfo_note_text(note, size, false, &text, NULL)) {
            g_assert_cmpint(text.len, <=, size - TEXT_OFFSET);
            if (linux_page_tables_root(&text, &root, NULL)) {
                g_assert_cmphex(root & ~0xffffffffff000, ==, 0);
            }
            linux_page_tables_la57(&text, &la57, NULL);
            linux_page_tables_check_mask(&text, 1ULL << 51, NULL);
        }
    }
}

static void add_note_tests(void)
{
    g_test_add_data_func("/vmcoreinfo/note/little-endian",
                         GINT_TO_POINTER(false), test_note);
    g_test_add_data_func("/vmcoreinfo/note/big-endian",
                         GINT_TO_POINTER(true), test_note);
    g_test_add_func("/vmcoreinfo/note/padding", test_note_with_padding);
    g_test_add_func("/vmcoreinfo/note/cut-short", test_note_cut_short);
    g_test_add_func("/vmcoreinfo/note/absurd-sizes",
                    test_note_of_absurd_sizes);
    g_test_add_func("/vmcoreinfo/note/other-name", test_note_of_other_name);
    g_test_add_func("/vmcoreinfo/noise", test_noise);
}

static void add_value_tests(void)
{
    static const char *const no_numbers[] = {
        "", "-", "x", "0x", "12 ", " 12", "+12", "12x", "1.5",
        "99999999999999999999", "123456789012345678901234567890",
    };

    g_test_add_func("/vmcoreinfo/value/present", test_values);
    g_test_add_func("/vmcoreinfo/value/end", test_value_at_end_without_newline);
    g_test_add_func("/vmcoreinfo/value/absent", test_value_is_absent);
    g_test_add_func("/vmcoreinfo/value/several", test_first_of_several_values);
    g_test_add_func("/vmcoreinfo/value/nul", test_value_with_nul);
    for (int i = 0; i < ARRAY_SIZE(no_numbers); i++) {
        g_autofree char *path =
            g_strdup_printf("/vmcoreinfo/value/no-number/%d", i);

        g_test_add_data_func(path, no_numbers[i], test_value_is_no_number);
    }
}

static void add_root_tests(void)
{
    static const char *const lies[] = {
        "NUMBER(phys_base)=0\n",
        "SYMBOL(swapper_pg_dir)=ffffffff81001000\n",
        /* not in the kernel's image */
        "SYMBOL(swapper_pg_dir)=ffffffff7ffff000\nNUMBER(phys_base)=0\n",
        "SYMBOL(swapper_pg_dir)=ffffffffc0000000\nNUMBER(phys_base)=0\n",
        "SYMBOL(swapper_pg_dir)=1000\nNUMBER(phys_base)=0\n",
        /* not page-aligned */
        "SYMBOL(swapper_pg_dir)=ffffffff81001010\nNUMBER(phys_base)=0\n",
        "SYMBOL(swapper_pg_dir)=ffffffff81001000\nNUMBER(phys_base)=16\n",
        /* beyond physical memory */
        "SYMBOL(swapper_pg_dir)=ffffffff81001000\n"
        "NUMBER(phys_base)=4503599627370496\n",
        "SYMBOL(swapper_pg_dir)=ffffffff81001000\n"
        "NUMBER(phys_base)=-9223372036854775808\n",
        "SYMBOL(swapper_pg_dir)=ffffffff81001000\n"
        "NUMBER(phys_base)=-33554432\n",
    };

    g_test_add_func("/vmcoreinfo/root/found", test_root);
    g_test_add_func("/vmcoreinfo/root/either-name", test_root_by_either_name);
    for (int i = 0; i < ARRAY_SIZE(lies); i++) {
        g_autofree char *path =
            g_strdup_printf("/vmcoreinfo/root/cannot-be/%d", i);

        g_test_add_data_func(path, lies[i], test_root_cannot_be);
    }
    g_test_add_func("/vmcoreinfo/la57", test_la57);
    g_test_add_func("/vmcoreinfo/mask", test_mask);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add_note_tests();
    add_value_tests();
    add_root_tests();
    return g_test_run();
}
