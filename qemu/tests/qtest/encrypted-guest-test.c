/*
 * Debug accesses to a simulated encrypted guest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/*
 * qtest's own memory commands are the raw view: what the host sees.  With
 * the qtest accelerator the VM counts as running from the start, so the
 * guest is launched; 'stop' seals its memory.
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "qobject/qdict.h"

#define PATTERN     "The quick brown fox jumps over the lazy dog 0123456789."
#define PATTERN_LEN sizeof(PATTERN)     /* 56: not a multiple of 16 */
#define PATTERN_GPA 0x123ff8            /* crosses a page */

#define HIDDEN      ",\"mode\":\"hidden\""
#define FORBIDDEN   ",\"policy-debug\":false"
#define CBIT51      ",\"cbitpos\":51"
#define SHARED47    ",\"cbitpos\":47,\"cbit-set\":\"shared\""
#define RANGE(property, start, size) \
    ",\"" property "\":[{\"start\":" stringify(start) \
    ",\"size\":" stringify(size) "}]"
#define SHARED(start, size) RANGE("shared", start, size)

/* @properties: JSON members, each after a comma; @more: command line */
static QTestState *start_guest(const char *properties, const char *more)
{
    QTestState *qts = qtest_initf(
        "-machine pc,confidential-guest-support=cg0 -m 64M -nodefaults "
        "-object '{\"qom-type\":\"sim-encrypted-guest\",\"id\":\"cg0\"%s}' %s",
        properties, more);

    qtest_memwrite(qts, PATTERN_GPA, PATTERN, PATTERN_LEN);
    return qts;
}

static QTestState *start_sealed_guest(const char *properties)
{
    QTestState *qts = start_guest(properties, "");

    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    return qts;
}

static void assert_raw(QTestState *qts, uint64_t gpa, bool plain)
{
    char raw[PATTERN_LEN];

    qtest_memread(qts, gpa, raw, sizeof(raw));
    g_assert_cmpint(memcmp(raw, PATTERN, sizeof(raw)) == 0, ==, plain);
    if (!plain) {
        /* not a single word of it */
        g_assert_null(memmem(raw, sizeof(raw), "quick", 5));
        g_assert_null(memmem(raw, sizeof(raw), "lazy", 4));
    }
}

/* What 'xp' shows of @len bytes, as bytes; NULL if it fails */
static uint8_t *xp(QTestState *qts, uint64_t gpa, size_t len)
{
    g_autofree char *out = qtest_hmp(qts, "xp /%zuxb 0x%" PRIx64, len, gpa);
    g_auto(GStrv) lines = g_strsplit(out, "\r\n", -1);
    uint8_t *bytes = g_malloc(len);
    size_t n = 0;

    if (strstr(out, "Cannot access memory")) {
        g_free(bytes);
        return NULL;
    }
    for (char **line = lines; *line && **line; line++) {
        char *p = strchr(*line, ':');

        g_assert_nonnull(p);
        for (p++; *p == ' '; p += 5) {
            bytes[n++] = g_ascii_strtoull(p, NULL, 16);
        }
    }
    g_assert_cmpint(n, ==, len);
    return bytes;
}

static void assert_xp(QTestState *qts, uint64_t gpa)
{
    g_autofree uint8_t *bytes = xp(qts, gpa, PATTERN_LEN);

    g_assert_nonnull(bytes);
    g_assert_cmpmem(bytes, PATTERN_LEN, PATTERN, PATTERN_LEN);
}

static void assert_hmp_says(QTestState *qts, const char *cmd, const char *what)
{
    g_autofree char *out = qtest_hmp(qts, "%s", cmd);

    if (!strstr(out, what)) {
        g_test_message("'%s' printed: %s", cmd, out);
    }
    g_assert_nonnull(strstr(out, what));
}

static void assert_error(QTestState *qts, QDict *error, const char *what)
{
    g_autofree char *desc = g_strdup(qdict_get_str(error, "desc"));

    qobject_unref(error);
    if (!strstr(desc, what)) {
        g_test_message("error: %s", desc);
    }
    g_assert_nonnull(strstr(desc, what));
}

static char *temporary_name(void)
{
    return g_strdup_printf("%s/encrypted-guest-test-%d", g_get_tmp_dir(),
                           (int)getpid());
}

/* pmemsave to a file, which is returned, or NULL with @error set */
static char *pmemsave(QTestState *qts, uint64_t gpa, uint64_t size,
                      gsize *len, QDict **error)
{
    g_autofree char *name = temporary_name();
    char *data = NULL;
    QDict *rsp;

    rsp = qtest_qmp(qts, "{'execute': 'pmemsave', 'arguments': "
                    "{'val': %" PRIu64 ", 'size': %" PRIu64
                    ", 'filename': %s}}", gpa, size, name);
    if (qdict_haskey(rsp, "error")) {
        *error = qdict_get_qdict(rsp, "error");
        qobject_ref(*error);
    } else {
        g_assert_true(g_file_get_contents(name, &data, len, NULL));
    }
    unlink(name);
    qobject_unref(rsp);
    return data;
}

static void test_xp(const void *properties)
{
    QTestState *qts = start_sealed_guest(properties);

    assert_xp(qts, PATTERN_GPA);
    assert_raw(qts, PATTERN_GPA, false);
    qtest_quit(qts);
}

static void test_running_guest_is_read(void)
{
    QTestState *qts = start_guest("", "");

    assert_xp(qts, PATTERN_GPA);
    qtest_quit(qts);
}

static void test_before_launch_is_plaintext(void)
{
    QTestState *qts = start_guest("", "-S");

    assert_raw(qts, PATTERN_GPA, true);
    assert_xp(qts, PATTERN_GPA);
    qtest_quit(qts);
}

/* BIOS, option ROMs, tables and the pattern */
#define RESTORED_SIZE   (2 * MiB)

static void test_cont_restores(const void *properties)
{
    QTestState *qts = start_sealed_guest(properties);
    g_autofree char *before = g_malloc(RESTORED_SIZE);
    g_autofree char *after = g_malloc(RESTORED_SIZE);

    qtest_qmp_assert_success(qts, "{'execute': 'cont'}");
    qtest_bufread(qts, 0, before, RESTORED_SIZE);
    for (int i = 0; i < 5; i++) {
        qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
        assert_raw(qts, PATTERN_GPA, false);
        qtest_qmp_assert_success(qts, "{'execute': 'cont'}");
    }
    qtest_bufread(qts, 0, after, RESTORED_SIZE);
    g_assert_cmpmem(before, RESTORED_SIZE, after, RESTORED_SIZE);
    assert_raw(qts, PATTERN_GPA, true);
    qtest_quit(qts);
}

static void test_same_plaintext_other_ciphertext(void)
{
    QTestState *qts = start_guest("", "");
    char one[4096], two[4096];

    qtest_memset(qts, 0x200000, 0x5a, 4096);
    qtest_memset(qts, 0x201000, 0x5a, 4096);
    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    qtest_memread(qts, 0x200000, one, sizeof(one));
    qtest_memread(qts, 0x201000, two, sizeof(two));
    g_assert_cmpint(memcmp(one, two, sizeof(one)), !=, 0);
    /* nor do equal blocks of one page look alike */
    g_assert_cmpint(memcmp(one, one + 16, 16), !=, 0);
    qtest_quit(qts);
}

static void test_pmemsave(void)
{
    QTestState *qts = start_sealed_guest("");
    g_autofree char *data = NULL;
    QDict *error = NULL;
    gsize len = 0;

    data = pmemsave(qts, 1 * MiB, 3 * MiB + 5, &len, &error);
    g_assert_nonnull(data);
    g_assert_cmpint(len, ==, 3 * MiB + 5);
    g_assert_cmpmem(data + PATTERN_GPA - 1 * MiB, PATTERN_LEN,
                    PATTERN, PATTERN_LEN);
    assert_raw(qts, PATTERN_GPA, false);
    qtest_quit(qts);
}

static void test_sum(void)
{
    QTestState *qts = start_guest("", "");
    g_autofree char *plain = qtest_hmp(qts, "sum 0x123ff0 8192");
    g_autofree char *sealed = NULL;

    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    sealed = qtest_hmp(qts, "sum 0x123ff0 8192");
    g_assert_cmpstr(plain, ==, sealed);
    assert_raw(qts, PATTERN_GPA, false);
    qtest_quit(qts);
}

/* For a normal guest, too, pmemsave saves zeros where nothing is mapped */
static void test_beyond_ram(const void *opaque)
{
    const char *machine = opaque;
    QTestState *qts = qtest_initf("-m 64M -nodefaults %s", machine);
    g_autofree char *zeros = g_malloc0(1 * MiB);
    g_autofree char *data = NULL;
    g_autofree char *xp = NULL;
    QDict *error = NULL;
    gsize len;

    qtest_memset(qts, 63 * MiB, 0x5a, 1 * MiB);
    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    data = pmemsave(qts, 63 * MiB, 2 * MiB, &len, &error);
    g_assert_nonnull(data);
    g_assert_cmpint(len, ==, 2 * MiB);
    g_assert_cmpint(data[0], ==, 0x5a);
    g_assert_cmpint(data[1 * MiB - 1], ==, 0x5a);
    g_assert_cmpmem(data + 1 * MiB, 1 * MiB, zeros, 1 * MiB);
    assert_hmp_says(qts, "sum 0x4000000 8192", "00000");

    /* the reason is for encrypted guests, and names the byte */
    xp = qtest_hmp(qts, "xp /4xw 0x3fffff8");
    g_assert_nonnull(strstr(xp, "0000000003fffff8: Cannot access memory"));
    g_assert_cmpint(!!strstr(xp, "nothing is mapped at physical address "
                                 "0x4000000"), ==, !!strstr(machine, "cg0"));
    qtest_quit(qts);
}

static void test_policy_forbids(const void *properties)
{
    QTestState *qts = start_sealed_guest(properties);
    g_autofree char *name = temporary_name();
    QDict *error = NULL;
    gsize len;

    g_assert_null(xp(qts, PATTERN_GPA, PATTERN_LEN));
    assert_hmp_says(qts, "xp /1xg 0x123ff8", "policy forbids debugging");
    assert_hmp_says(qts, "xp /1xg 0x123ff8", "policy-debug=on");
    assert_hmp_says(qts, "xp /1xg 0x123ff8", "'cg0'");
    assert_hmp_says(qts, "sum 0x100000 4096", "policy forbids debugging");

    /* The old file has not been truncated */
    g_assert_true(g_file_set_contents(name, "old", 3, NULL));
    assert_error(qts, qtest_qmp_assert_failure_ref(qts,
        "{'execute': 'pmemsave', 'arguments': "
        "{'val': 0, 'size': 4096, 'filename': %s}}", name), "forbids");
    {
        g_autofree char *old = NULL;

        g_assert_true(g_file_get_contents(name, &old, &len, NULL));
        g_assert_cmpmem(old, len, "old", 3);
    }
    unlink(name);
    g_assert_null(pmemsave(qts, 0, 4096, &len, &error));
    assert_error(qts, error, "policy forbids debugging");
    qtest_quit(qts);
}

static void test_policy_forbids_running_guest(void)
{
    QTestState *qts = start_guest(FORBIDDEN, "");

    g_assert_null(xp(qts, PATTERN_GPA, PATTERN_LEN));
    qtest_quit(qts);
}

static void test_shared_ranges(const void *properties)
{
    QTestState *qts = start_guest(properties, "");

    qtest_memwrite(qts, 0x200ff0, PATTERN, PATTERN_LEN);
    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    /* shared: the host sees it, and so does the debugger */
    assert_raw(qts, 0x200ff0, true);
    assert_xp(qts, 0x200ff0);
    /* private again: as before */
    assert_raw(qts, PATTERN_GPA, false);
    assert_xp(qts, PATTERN_GPA);
    qtest_quit(qts);
}

/* From the VGA window over option ROMs and the BIOS to RAM */
static void test_shared_range_begins_in_a_device(void)
{
    QTestState *qts = start_guest(SHARED(655360, 524288),
                                  "-device VGA,romfile=");

    qtest_memwrite(qts, 0x110000, PATTERN, PATTERN_LEN);
    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    assert_raw(qts, 0x110000, true);
    assert_xp(qts, 0x110000);
    assert_raw(qts, PATTERN_GPA, false);
    qtest_quit(qts);
}

static void test_shared_range_goes_on_behind_flash(void)
{
    g_autofree char *name = temporary_name();
    g_autofree char *flash = g_malloc(64 * KiB);
    g_autofree char *more = g_strdup_printf(
        "-drive if=pflash,format=raw,readonly=on,file=%s", name);
    QTestState *qts;
    char raw[64];

    memset(flash, 0x5a, 64 * KiB);
    g_assert_true(g_file_set_contents(name, flash, 64 * KiB, NULL));
    qts = start_guest(SHARED(4294901760, 268435456), more);
    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    qtest_memread(qts, 0xffff0000, raw, sizeof(raw));
    g_assert_cmpmem(raw, sizeof(raw), flash, sizeof(raw));
    assert_raw(qts, PATTERN_GPA, false);
    qtest_qmp_assert_success(qts, "{'execute': 'cont'}");
    assert_raw(qts, PATTERN_GPA, true);
    qtest_quit(qts);
    unlink(name);
}

/* The BIOS is mapped twice: writes to one mapping show in the other */
static void test_page_that_is_shared_elsewhere(void)
{
    static const uint8_t written[] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    QTestState *qts = start_sealed_guest(SHARED(4294963200, 4096));
    g_autofree uint8_t *before = xp(qts, 0xffff0, sizeof(written));
    g_autofree uint8_t *after = NULL;

    g_assert_cmpint(memcmp(before, written, sizeof(written)), !=, 0);
    qtest_qmp_assert_success(qts, "{'execute': 'memory-debug-write', "
        "'arguments': {'address': 4294967280, 'space': 'physical', "
        "'data': 'AAECAwQFBgc='}}");
    after = xp(qts, 0xffff0, sizeof(written));
    g_assert_cmpmem(after, sizeof(written), written, sizeof(written));
    qtest_quit(qts);
}

static void test_conversion_while_stopped(void)
{
    QTestState *qts = start_sealed_guest("");

    assert_xp(qts, PATTERN_GPA);
    qtest_qmp_assert_success(qts, "{'execute': 'qom-set', 'arguments': "
        "{'path': '/objects/cg0', 'property': 'shared', 'value': "
        "[{'start': 1187840, 'size': 12288}]}}");
    assert_raw(qts, PATTERN_GPA, true);
    assert_xp(qts, PATTERN_GPA);
    qtest_qmp_assert_success(qts, "{'execute': 'qom-set', 'arguments': "
        "{'path': '/objects/cg0', 'property': 'shared', 'value': []}}");
    assert_raw(qts, PATTERN_GPA, false);
    assert_xp(qts, PATTERN_GPA);
    qtest_quit(qts);
}

static void test_address_with_cbit(void)
{
    QTestState *qts = start_sealed_guest(CBIT51);

    assert_xp(qts, PATTERN_GPA);
    assert_xp(qts, PATTERN_GPA | 1ULL << 51);
    g_assert_null(xp(qts, PATTERN_GPA | 1ULL << 47, PATTERN_LEN));
    qtest_quit(qts);
}

static void test_address_with_shared_bit(void)
{
    QTestState *qts = start_sealed_guest(SHARED47);

    assert_xp(qts, PATTERN_GPA);
    /* The shared view of a private page is not the guest's */
    assert_hmp_says(qts, "xp /1xg 0x800000123ff8", "Cannot access memory");
    assert_hmp_says(qts, "xp /1xg 0x800000123ff8", "but it is private");
    qtest_quit(qts);
}

static void test_private_view_of_shared_page(void)
{
    QTestState *qts = start_sealed_guest(CBIT51 SHARED(1187840, 12288));

    assert_xp(qts, PATTERN_GPA);
    assert_hmp_says(qts, "xp /1xg 0x8000000123ff8", "Cannot access memory");
    assert_hmp_says(qts, "xp /1xg 0x8000000123ff8", "shared with the host");
    qtest_quit(qts);
}

static void test_fault(void)
{
    QTestState *qts = start_sealed_guest(
        RANGE("x-fault", 1196032, 4096));
    g_autofree uint8_t *bytes = NULL;
    QDict *error = NULL;
    gsize len;

    /* the pattern's first 8 bytes lie before the bad page */
    bytes = xp(qts, PATTERN_GPA, 8);
    g_assert_cmpmem(bytes, 8, PATTERN, 8);
    g_assert_null(xp(qts, PATTERN_GPA, PATTERN_LEN));
    assert_hmp_says(qts, "xp /1xg 0x124000", "fails at 0x124000");
    g_assert_null(pmemsave(qts, 1 * MiB, 1 * MiB, &len, &error));
    assert_error(qts, error, "only 147456 of 1048576 bytes were saved: cannot "
                 "read physical address 0x124000");
    assert_hmp_says(qts, "sum 0x100001 0x100000",
                    "cannot read physical address 0x124000");
    assert_hmp_says(qts, "memsave 0x123fff 16 \"/dev/null\"",
                    "only 1 of 16 bytes were saved: virtual address 0x124000");
    qtest_quit(qts);
}

static void test_gpa2hva_refuses(void)
{
    QTestState *qts = start_sealed_guest("");

    assert_hmp_says(qts, "gpa2hva 0x100000", "encrypted");
    assert_hmp_says(qts, "gpa2hva 0x100000", "xp");
    assert_hmp_says(qts, "gpa2hpa 0x100000", "encrypted");
    qtest_quit(qts);
}

static void test_rom_is_encrypted_and_read(void)
{
    QTestState *qts = start_guest("", "");
    g_autofree uint8_t *sealed = NULL;
    char plain[64], raw[64];

    qtest_memread(qts, 0xffffffc0, plain, sizeof(plain));
    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    qtest_memread(qts, 0xffffffc0, raw, sizeof(raw));
    g_assert_cmpint(memcmp(plain, raw, sizeof(raw)), !=, 0);
    sealed = xp(qts, 0xffffffc0, sizeof(plain));
    g_assert_cmpmem(sealed, sizeof(plain), plain, sizeof(plain));
    qtest_quit(qts);
}

/* A reset while stopped writes firmware tables; they must survive sealing */
static void test_reset_while_stopped(const void *properties)
{
    QTestState *qts = start_guest(properties, "");
    char before[64 * KiB], after[64 * KiB];

    qtest_memread(qts, 0xffff0000, before, sizeof(before));
    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    qtest_qmp_assert_success(qts, "{'execute': 'system_reset'}");
    qtest_qmp_eventwait(qts, "RESET");
    assert_raw(qts, PATTERN_GPA, false);
    assert_xp(qts, PATTERN_GPA);
    qtest_qmp_assert_success(qts, "{'execute': 'cont'}");
    qtest_memread(qts, 0xffff0000, after, sizeof(after));
    g_assert_cmpmem(before, sizeof(before), after, sizeof(after));
    assert_raw(qts, PATTERN_GPA, true);
    qtest_quit(qts);
}

static void test_dimm(void)
{
    QTestState *qts = start_guest("", "-m 64M,slots=2,maxmem=1G");
    uint64_t base = 4 * GiB;

    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    /* plugged while the guest is sealed */
    qtest_qmp_assert_success(qts, "{'execute': 'object-add', 'arguments': "
        "{'qom-type': 'memory-backend-ram', 'id': 'm0', 'size': 134217728}}");
    qtest_qmp_assert_success(qts, "{'execute': 'device_add', 'arguments': "
        "{'driver': 'pc-dimm', 'id': 'd0', 'memdev': 'm0', "
        "'addr': 4294967296}}");
    qtest_qmp_assert_success(qts, "{'execute': 'cont'}");
    qtest_memwrite(qts, base + 0xff0, PATTERN, PATTERN_LEN);
    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    assert_xp(qts, base + 0xff0);
    assert_raw(qts, base + 0xff0, false);
    qtest_quit(qts);
}

static void test_pflash(void)
{
    g_autofree char *name = temporary_name();
    g_autofree char *image = g_malloc0(256 * KiB);
    g_autofree char *after = NULL;
    g_autofree char *args = NULL;
    QTestState *qts;
    gsize len;

    memcpy(image + 0xff0, PATTERN, PATTERN_LEN);
    g_assert_true(g_file_set_contents(name, image, 256 * KiB, NULL));
    args = g_strdup_printf("-drive if=pflash,format=raw,file=%s", name);
    qts = start_guest("", args);
    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    assert_xp(qts, 4 * GiB - 256 * KiB + 0xff0);
    assert_raw(qts, 4 * GiB - 256 * KiB + 0xff0, false);
    qtest_quit(qts);

    /* and the file is unchanged */
    g_assert_true(g_file_get_contents(name, &after, &len, NULL));
    g_assert_cmpmem(after, len, image, 256 * KiB);
    unlink(name);
}

/* Memory in a file outlives QEMU, quit while sealed or not */
static void test_quit_while_stopped(const void *properties)
{
    g_autofree char *name = temporary_name();
    g_autofree char *args = NULL;
    g_autofree char *after = NULL;
    QTestState *qts;
    gsize len;

    args = g_strdup_printf("-object memory-backend-file,id=m0,size=64M,"
                           "mem-path=%s,share=on -machine memory-backend=m0",
                           name);
    qts = start_guest(properties, args);
    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    assert_raw(qts, PATTERN_GPA, false);
    qtest_qmp_assert_success(qts, "{'execute': 'quit'}");
    qtest_wait_qemu(qts);
    qtest_quit(qts);
    g_assert_true(g_file_get_contents(name, &after, &len, NULL));
    g_assert_cmpmem(after + PATTERN_GPA, PATTERN_LEN, PATTERN, PATTERN_LEN);
    unlink(name);
}

static void test_cannot_be_migrated_or_saved(void)
{
    QTestState *qts = start_sealed_guest("");

    assert_error(qts, qtest_qmp_assert_failure_ref(qts,
        "{'execute': 'migrate', 'arguments': {'uri': 'exec:cat>/dev/null'}}"),
        "encrypted");
    assert_hmp_says(qts, "savevm one", "Error");
    qtest_quit(qts);
}

static void test_policy_is_fixed(void)
{
    QTestState *qts = start_sealed_guest(FORBIDDEN);

    assert_error(qts, qtest_qmp_assert_failure_ref(qts,
        "{'execute': 'qom-set', 'arguments': {'path': '/objects/cg0', "
        "'property': 'policy-debug', 'value': true}}"), "cannot be changed");
    g_assert_null(xp(qts, PATTERN_GPA, PATTERN_LEN));
    qtest_quit(qts);
}

static void add_seal_tests(void)
{
    qtest_add_data_func("/encrypted-guest/seal/cont-restores/cipher", "",
                        test_cont_restores);
    qtest_add_data_func("/encrypted-guest/seal/cont-restores/hidden",
                        HIDDEN, test_cont_restores);
    qtest_add_func("/encrypted-guest/seal/tweak",
                   test_same_plaintext_other_ciphertext);
    qtest_add_data_func("/encrypted-guest/seal/reset/cipher", "",
                        test_reset_while_stopped);
    qtest_add_data_func("/encrypted-guest/seal/reset/hidden", HIDDEN,
                        test_reset_while_stopped);
    qtest_add_data_func("/encrypted-guest/seal/quit/cipher", "",
                        test_quit_while_stopped);
    qtest_add_data_func("/encrypted-guest/seal/quit/hidden", HIDDEN,
                        test_quit_while_stopped);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_data_func("/encrypted-guest/xp/cipher", "", test_xp);
    qtest_add_data_func("/encrypted-guest/xp/hidden", HIDDEN, test_xp);
    qtest_add_func("/encrypted-guest/xp/running", test_running_guest_is_read);
    qtest_add_func("/encrypted-guest/xp/before-launch",
                   test_before_launch_is_plaintext);
    qtest_add_func("/encrypted-guest/xp/address-with-cbit",
                   test_address_with_cbit);
    qtest_add_func("/encrypted-guest/xp/address-with-shared-bit",
                   test_address_with_shared_bit);
    qtest_add_func("/encrypted-guest/xp/private-view-of-shared-page",
                   test_private_view_of_shared_page);
    qtest_add_func("/encrypted-guest/xp/fault", test_fault);
    qtest_add_func("/encrypted-guest/pmemsave", test_pmemsave);
    qtest_add_func("/encrypted-guest/sum", test_sum);
    qtest_add_data_func("/encrypted-guest/beyond-ram/encrypted",
                        "-object sim-encrypted-guest,id=cg0 "
                        "-machine pc,confidential-guest-support=cg0",
                        test_beyond_ram);
    qtest_add_data_func("/encrypted-guest/beyond-ram/normal", "-machine pc",
                        test_beyond_ram);
    qtest_add_data_func("/encrypted-guest/policy-forbids/cipher",
                        FORBIDDEN, test_policy_forbids);
    qtest_add_data_func("/encrypted-guest/policy-forbids/hidden",
                        HIDDEN FORBIDDEN, test_policy_forbids);
    qtest_add_func("/encrypted-guest/policy-forbids/running",
                   test_policy_forbids_running_guest);
    qtest_add_func("/encrypted-guest/policy-is-fixed", test_policy_is_fixed);
    qtest_add_data_func("/encrypted-guest/shared/cipher",
                        SHARED(2097152, 8192),
                        test_shared_ranges);
    qtest_add_data_func("/encrypted-guest/shared/hidden",
                        HIDDEN SHARED(2097152, 8192), test_shared_ranges);
    qtest_add_func("/encrypted-guest/shared/begins-in-a-device",
                   test_shared_range_begins_in_a_device);
    qtest_add_func("/encrypted-guest/shared/goes-on-behind-flash",
                   test_shared_range_goes_on_behind_flash);
    qtest_add_func("/encrypted-guest/shared/elsewhere",
                   test_page_that_is_shared_elsewhere);
    qtest_add_func("/encrypted-guest/shared/conversion-while-stopped",
                   test_conversion_while_stopped);
    qtest_add_func("/encrypted-guest/gpa2hva-refuses", test_gpa2hva_refuses);
    qtest_add_func("/encrypted-guest/ram/rom", test_rom_is_encrypted_and_read);
    qtest_add_func("/encrypted-guest/ram/dimm", test_dimm);
    qtest_add_func("/encrypted-guest/ram/pflash", test_pflash);
    add_seal_tests();
    qtest_add_func("/encrypted-guest/cannot-be-migrated-or-saved",
                   test_cannot_be_migrated_or_saved);
    return g_test_run();
}
