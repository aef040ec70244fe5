/*
 * Dumps of a simulated encrypted guest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/*
 * The oracle is the dump of an ordinary guest with the same memory.  qtest's
 * own memory commands are the raw view: what a dump through host pointers
 * would have.  With the qtest accelerator no vCPU changes memory, and the VM
 * counts as running, so 'stop' seals it.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "dump-file.h"
#include "hw/misc/vmcoreinfo.h"
#include "libqos/fw_cfg.h"
#include "libqos/libqos-pc.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#include "standard-headers/linux/qemu_fw_cfg.h"

#include <zlib.h>

#define RAM_SIZE        (32 * MiB)
/* RAM for the test; libqos and the firmware use what lies below */
#define FILL_START      (8 * MiB)
#define FILL_END        (24 * MiB)
#define RANDOM_END      (10 * MiB)      /* does not compress */

#define PLAIN           NULL
#define HIDDEN          ",\"mode\":\"hidden\""
#define FORBIDDEN       ",\"policy-debug\":false"
#define PROTECTED       ",\"protect-registers\":true"
#define SHARED          ",\"shared\":[{\"start\":9437184,\"size\":1048576}]"
#define SLOW            ",\"x-latency-us\":100000"
#define VERY_SLOW_US    1000000
#define VERY_SLOW       ",\"x-latency-us\":1000000"

/* One page, pages around the end of a window of 1 MiB, and many */
#define MISSING         "[{\"start\":12582912,\"size\":4096}," \
                        "{\"start\":13627392,\"size\":12288}," \
                        "{\"start\":16777216,\"size\":2097152}]"
#define FAULTS          ",\"x-fault\":" MISSING
#define ABSENT          ",\"x-absent\":" MISSING
#define MISSING_PAGES   (1 + 3 + 512)
/* All that the test fills, and more */
#define MOSTLY_ABSENT   ",\"x-absent\":[{\"start\":2097152,\"size\":29360128}]"
/* Of a guest with 256 MiB */
#define HALF_ABSENT     ",\"x-absent\":" \
                        "[{\"start\":67108864,\"size\":134217728}]"

static bool is_missing(uint64_t gpa)
{
    return gpa == 12582912 ||
           (gpa >= 13627392 && gpa < 13627392 + 12288) ||
           (gpa >= 16777216 && gpa < 16777216 + 2 * MiB);
}

static const char *const formats[] = {
    "elf", "kdump-zlib", "kdump-lzo", "kdump-snappy",
    "kdump-raw-zlib", "kdump-raw-lzo", "kdump-raw-snappy",
};

/*
 * Guests
 */

/* The guest's contents at @gpa: some pages of zeros, some noise, some text */
static void fill_page(uint64_t gpa, uint64_t *page)
{
    uint64_t x = gpa;

    memset(page, 0, DUMP_PAGE);
    if (gpa < RANDOM_END) {
        for (int i = 0; i < DUMP_PAGE / 8; i++) {
            x = x * 6364136223846793005ULL + 1442695040888963407ULL;
            page[i] = x;
        }
    } else if (gpa / DUMP_PAGE % 4) {
        snprintf((char *)page, DUMP_PAGE, "page at 0x%" PRIx64, gpa);
    }
}

static void fill(QTestState *qts)
{
    uint8_t buf[64 * KiB];

    for (uint64_t gpa = FILL_START; gpa < FILL_END; gpa += sizeof(buf)) {
        for (size_t i = 0; i < sizeof(buf); i += DUMP_PAGE) {
            fill_page(gpa + i, (uint64_t *)(buf + i));
        }
        qtest_bufwrite(qts, gpa, buf, sizeof(buf));
    }
}

/* A guest with these properties, or an ordinary one if they are PLAIN */
static QOSState *start_guest_with_ram(const char *properties, int ram_mib)
{
    g_autofree char *object = properties ? g_strdup_printf(
        "-object '{\"qom-type\":\"sim-encrypted-guest\",\"id\":\"cg0\"%s}' "
        "-machine confidential-guest-support=cg0", properties) : g_strdup("");
    QOSState *qs = qtest_pc_boot("-machine pc -m %dM,slots=1,maxmem=1G "
                                 "-nodefaults -device vmcoreinfo %s", ram_mib,
                                 object);

    fill(qs->qts);
    return qs;
}

static QOSState *start_guest(const char *properties)
{
    return start_guest_with_ram(properties, RAM_SIZE / MiB);
}

static QOSState *start_stopped_guest(const char *properties)
{
    QOSState *qs = start_guest(properties);

    qtest_qmp_assert_success(qs->qts, "{'execute': 'stop'}");
    return qs;
}

/* The host does not see what fill() wrote */
static void assert_sealed(QTestState *qts)
{
    uint64_t raw[DUMP_PAGE / 8], plain[DUMP_PAGE / 8];

    fill_page(11 * MiB + DUMP_PAGE, plain);
    qtest_memread(qts, 11 * MiB + DUMP_PAGE, raw, sizeof(raw));
    g_assert_null(memmem(raw, sizeof(raw), "page at", 7));
    g_assert_nonnull(memmem(plain, sizeof(plain), "page at", 7));
}

/* Announce the guest's VMCOREINFO note, as its kernel does */
static void tell_note(QOSState *qs, uint64_t gpa, uint32_t size)
{
    g_autoptr(QFWCFG) fw_cfg = pc_fw_cfg_init(qs->qts);
    FWCfgVMCoreInfo info = {
        .guest_format = cpu_to_le16(FW_CFG_VMCOREINFO_FORMAT_ELF),
        .size = cpu_to_le32(size),
        .paddr = cpu_to_le64(gpa),
    };

    qfw_cfg_write_file(fw_cfg, qs, FW_CFG_VMCOREINFO_FILENAME, &info,
                       sizeof(info));
}

static size_t make_note(char *buf, const char *name, const char *text)
{
    size_t name_size = strlen(name) + 1, size = strlen(text);

    memset(buf, 0, DUMP_PAGE);
    stl_le_p(buf, name_size);
    stl_le_p(buf + 4, size);
    strcpy(buf + 12, name);
    strcpy(buf + 12 + ROUND_UP(name_size, 4), text);
    return 12 + ROUND_UP(name_size, 4) + ROUND_UP(size, 4);
}

/*
 * Dumps
 */

static char *temporary_name(const char *what)
{
    return g_strdup_printf("%s/encrypted-dump-test-%d.%s", g_get_tmp_dir(),
                           (int)getpid(), what);
}

static QDict *dump_arguments(const char *format, const char *protocol)
{
    QDict *args = qdict_new();

    qdict_put_bool(args, "paging", false);
    qdict_put_str(args, "protocol", protocol);
    qdict_put_str(args, "format", format);
    return args;
}

static QDict *dump_to_file(const char *format, const char *name)
{
    g_autofree char *protocol = g_strdup_printf("file:%s", name);

    return dump_arguments(format, protocol);
}

/* Run the command; takes @args */
static QDict *dump(QTestState *qts, QDict *args)
{
    return qtest_qmp_assert_success_ref(qts, "{'execute': "
                                        "'dump-guest-memory', 'arguments': "
                                        "%p}", args);
}

/* Run the command, which must fail with an error that contains @what */
static void dump_fails(QTestState *qts, QDict *args, const char *what)
{
    QDict *error = qtest_qmp_assert_failure_ref(qts, "{'execute': "
                                                "'dump-guest-memory', "
                                                "'arguments': %p}", args);
    const char *desc = qdict_get_str(error, "desc");

    if (!strstr(desc, what)) {
        g_test_message("error: %s", desc);
    }
    g_assert_nonnull(strstr(desc, what));
    qobject_unref(error);
}

/* A dump of the whole guest; @result as dump() returns it, or NULL */
static DumpFile *dump_all(QTestState *qts, const char *format,
                          QDict **result)
{
    g_autofree char *name = temporary_name(format);
    QDict *answer = dump(qts, dump_to_file(format, name));
    DumpFile *f = dump_file_load(name);

    unlink(name);
    if (result) {
        *result = answer;
    } else {
        qobject_unref(answer);
    }
    return f;
}

static void assert_warns(QDict *result, const char *what)
{
    QListEntry *e;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(result, "warnings"), e) {
        if (strstr(qstring_get_str(qobject_to(QString, e->value)), what)) {
            return;
        }
    }
    g_test_message("no warning says '%s'", what);
    g_assert_not_reached();
}

static void assert_unreadable(QDict *result, int pages, uint64_t first)
{
    QDict *u = qdict_get_qdict(result, "unreadable");

    g_assert_cmpint(qdict_get_int(u, "pages"), ==, pages);
    g_assert_cmphex(qdict_get_int(u, "address"), ==, first);
    g_assert_nonnull(strstr(qdict_get_str(u, "reason"), "x-fault"));
    g_assert_false(qdict_haskey(result, "absent-pages"));
}

static void assert_absent(QDict *result, int pages)
{
    g_assert_cmpint(qdict_get_int(result, "absent-pages"), ==, pages);
    g_assert_false(qdict_haskey(result, "unreadable"));
}

/*
 * Tests: equality
 */

static void assert_pages_are_right(const DumpFile *f)
{
    uint64_t page[DUMP_PAGE / 8];

    for (uint64_t gpa = FILL_START; gpa < FILL_END; gpa += DUMP_PAGE) {
        DumpPage p = dump_file_page(f, gpa);

        fill_page(gpa, page);
        g_assert_true(p.present);
        g_assert_cmpmem(p.data, p.size, page, sizeof(page));
    }
}

static void test_equals_plain(const void *properties)
{
    QOSState *plain = start_stopped_guest(PLAIN);
    QOSState *sealed = start_stopped_guest(properties);

    assert_sealed(sealed->qts);
    for (int i = 0; i < ARRAY_SIZE(formats); i++) {
        g_autoptr(DumpFile) a = dump_all(plain->qts, formats[i], NULL);
        g_autoptr(DumpFile) b = dump_all(sealed->qts, formats[i], NULL);

        g_test_message("%s", formats[i]);
        g_assert_cmpint(a->len, ==, b->len);
        g_assert_true(!memcmp(a->data, b->data, a->len));
        if (dump_file_is_elf(b)) {
            assert_pages_are_right(b);
        }
    }
    qtest_shutdown(plain);
    qtest_shutdown(sealed);
}

static void test_zlib_page(void)
{
    QOSState *qs = start_stopped_guest("");
    g_autoptr(DumpFile) f = dump_all(qs->qts, "kdump-zlib", NULL);
    DumpPage page = dump_file_page(f, 11 * MiB + DUMP_PAGE);
    uint64_t plain[DUMP_PAGE / 8], want[DUMP_PAGE / 8];
    uLongf size = sizeof(plain);

    assert_sealed(qs->qts);
    g_assert_cmpint(page.flags, ==, 1);
    g_assert_cmpint(uncompress((Bytef *)plain, &size,
                               (const Bytef *)page.data, page.size), ==, Z_OK);
    fill_page(11 * MiB + DUMP_PAGE, want);
    g_assert_cmpmem(plain, size, want, sizeof(want));
    qtest_shutdown(qs);
}

static void test_equals_plain_in_range(void)
{
    QOSState *plain = start_stopped_guest(PLAIN);
    QOSState *sealed = start_stopped_guest("");
    static const struct { uint64_t begin, length; } ranges[] = {
        { 0, 1 }, { 0, RAM_SIZE }, { 9 * MiB + 5, 3 * MiB + 4099 },
        { 10 * MiB - 1, 2 }, { 4 * GiB - 64 * KiB, 64 * KiB },
    };

    for (int i = 0; i < ARRAY_SIZE(ranges); i++) {
        QOSState *guests[] = { plain, sealed };
        DumpFile *f[2];

        for (int j = 0; j < 2; j++) {
            g_autofree char *name = temporary_name("range");
            QDict *args = dump_to_file("elf", name);

            qdict_put_int(args, "begin", ranges[i].begin);
            qdict_put_int(args, "length", ranges[i].length);
            qobject_unref(dump(guests[j]->qts, args));
            f[j] = dump_file_load(name);
            unlink(name);
        }
        g_assert_cmpmem(f[0]->data, f[0]->len, f[1]->data, f[1]->len);
        dump_file_free(f[0]);
        dump_file_free(f[1]);
    }
    qtest_shutdown(plain);
    qtest_shutdown(sealed);
}

static void test_no_range_of_addresses(void)
{
    QOSState *qs = start_guest(PLAIN);
    static const struct { int64_t begin, length; } ranges[] = {
        { -4096, 8192 }, { 4096, -4096 }, { INT64_MAX, 2 },
    };

    for (int i = 0; i < ARRAY_SIZE(ranges); i++) {
        QDict *args = dump_to_file("elf", "/no/file");

        qdict_put_int(args, "begin", ranges[i].begin);
        qdict_put_int(args, "length", ranges[i].length);
        dump_fails(qs->qts, args, "not a range");
    }
    qtest_shutdown(qs);
}

static void test_running_guest_is_stopped_meanwhile(void)
{
    QOSState *plain = start_guest(PLAIN), *running = start_guest("");
    g_autoptr(DumpFile) a = dump_all(plain->qts, "elf", NULL);
    g_autoptr(DumpFile) b = dump_all(running->qts, "elf", NULL);
    QDict *rsp;

    g_assert_cmpmem(a->data, a->len, b->data, b->len);
    rsp = qtest_qmp_assert_success_ref(running->qts,
                                       "{'execute': 'query-status'}");
    g_assert_cmpstr(qdict_get_str(rsp, "status"), ==, "running");
    qobject_unref(rsp);
    qtest_shutdown(plain);
    qtest_shutdown(running);
}

/* Wait for a detached dump; its result, as the event has it */
static QDict *wait_for_dump(QTestState *qts)
{
    QDict *event = qtest_qmp_eventwait_ref(qts, "DUMP_COMPLETED");
    QDict *data = qdict_get_qdict(event, "data");

    qobject_ref(data);
    qobject_unref(event);
    return data;
}

static void test_detached(const void *format)
{
    QOSState *plain = start_stopped_guest(PLAIN);
    QOSState *sealed = start_stopped_guest("");
    g_autoptr(DumpFile) a = dump_all(plain->qts, format, NULL);
    g_autoptr(DumpFile) b = NULL;
    g_autofree char *name = temporary_name("detached");
    QDict *args = dump_to_file(format, name);
    QDict *data, *result;

    qdict_put_bool(args, "detach", true);
    qobject_unref(dump(sealed->qts, args));
    data = wait_for_dump(sealed->qts);
    g_assert_false(qdict_haskey(data, "error"));
    result = qdict_get_qdict(data, "result");
    g_assert_cmpstr(qdict_get_str(result, "status"), ==, "completed");
    g_assert_cmpint(qdict_get_int(result, "completed"), ==,
                    qdict_get_int(result, "total"));
    g_assert_false(qdict_haskey(result, "unreadable"));
    qobject_unref(data);
    b = dump_file_load(name);
    g_assert_cmpmem(a->data, a->len, b->data, b->len);
    unlink(name);
    qtest_shutdown(plain);
    qtest_shutdown(sealed);
}

/* The next dump begins as soon as the previous one reports completion */
static void test_one_after_the_other(void)
{
    QOSState *qs = start_stopped_guest("");
    g_autoptr(DumpFile) a = dump_all(qs->qts, "kdump-lzo", NULL);

    qobject_unref(wait_for_dump(qs->qts));
    for (int i = 0; i < 50; i++) {
        g_autofree char *name = temporary_name("next");
        QDict *args = dump_to_file("kdump-lzo", name), *data;
        g_autoptr(DumpFile) b = NULL;

        qdict_put_bool(args, "detach", true);
        qobject_unref(dump(qs->qts, args));
        data = wait_for_dump(qs->qts);
        g_assert_false(qdict_haskey(data, "error"));
        qobject_unref(data);
        b = dump_file_load(name);
        g_assert_cmpmem(a->data, a->len, b->data, b->len);
        unlink(name);
    }
    qtest_shutdown(qs);
}

/* A DIMM that is plugged while the guest is sealed, and is written to later */
static void test_dimm(void)
{
    QOSState *guests[] = { start_guest(PLAIN), start_guest("") };
    g_autofree char *page = g_strnfill(DUMP_PAGE, 'd');
    DumpFile *f[2];

    for (int i = 0; i < 2; i++) {
        QTestState *qts = guests[i]->qts;

        qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
        qtest_qmp_assert_success(qts, "{'execute': 'object-add', "
            "'arguments': {'qom-type': 'memory-backend-ram', 'id': 'm0', "
            "'size': 134217728}}");
        qtest_qmp_assert_success(qts, "{'execute': 'device_add', "
            "'arguments': {'driver': 'pc-dimm', 'id': 'd0', 'memdev': 'm0', "
            "'addr': 4294967296}}");
        qtest_qmp_assert_success(qts, "{'execute': 'cont'}");
        qtest_bufwrite(qts, 4 * GiB + DUMP_PAGE, page, DUMP_PAGE);
        qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
        f[i] = dump_all(qts, "elf", NULL);
        g_assert_cmpmem(dump_file_page(f[i], 4 * GiB + DUMP_PAGE).data,
                        DUMP_PAGE, page, DUMP_PAGE);
    }
    g_assert_cmpmem(f[0]->data, f[0]->len, f[1]->data, f[1]->len);
    for (int i = 0; i < 2; i++) {
        dump_file_free(f[i]);
        qtest_shutdown(guests[i]);
    }
}

/*
 * Tests: missing pages
 */

/* @b has the same pages as @a, except for the missing ones */
static void assert_lacks_missing_pages(const DumpFile *a, const DumpFile *b)
{
    for (uint64_t gpa = 0; gpa < RAM_SIZE; gpa += DUMP_PAGE) {
        DumpPage p = dump_file_page(a, gpa), q = dump_file_page(b, gpa);

        g_assert_true(p.exists == q.exists);
        g_assert_true(q.present == (p.present && !is_missing(gpa)));
        if (q.present) {
            g_assert_cmpint(p.flags, ==, q.flags);
            g_assert_cmpmem(p.data, p.size, q.data, q.size);
        }
    }
}

static QDict *query_dump(QTestState *qts)
{
    return qtest_qmp_assert_success_ref(qts, "{'execute': 'query-dump'}");
}

static void assert_empty(const char *name)
{
    struct stat st;

    g_assert_cmpint(stat(name, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, 0);
    unlink(name);
}

/* Even if they are most of the guest: nothing has failed */
static void test_absent_pages(const void *format)
{
    QOSState *plain = start_stopped_guest(PLAIN);
    QOSState *sealed = start_stopped_guest(ABSENT);
    QOSState *mostly = start_stopped_guest(MOSTLY_ABSENT);
    QDict *result, *query;
    g_autoptr(DumpFile) a = dump_all(plain->qts, format, NULL);
    g_autoptr(DumpFile) b = dump_all(sealed->qts, format, &result);
    g_autoptr(DumpFile) c = NULL;

    assert_lacks_missing_pages(a, b);
    assert_absent(result, MISSING_PAGES);
    qobject_unref(result);
    query = query_dump(sealed->qts);
    assert_absent(query, MISSING_PAGES);
    g_assert_cmpint(qdict_get_int(query, "total") -
                    qdict_get_int(query, "completed"), ==,
                    MISSING_PAGES * DUMP_PAGE);
    qobject_unref(query);

    c = dump_all(mostly->qts, format, &result);
    assert_absent(result, 7 * KiB);
    g_assert_true(dump_file_page(c, 1 * MiB).present);
    g_assert_false(dump_file_page(c, FILL_START).present);
    qobject_unref(result);
    qtest_shutdown(plain);
    qtest_shutdown(sealed);
    qtest_shutdown(mostly);
}

static void test_unreadable_pages(const void *format)
{
    QOSState *plain = start_stopped_guest(PLAIN);
    QOSState *sealed = start_stopped_guest(FAULTS);
    g_autofree char *name = temporary_name(format);
    QDict *args = dump_to_file(format, name), *result, *query;
    g_autoptr(DumpFile) a = dump_all(plain->qts, format, NULL);
    g_autoptr(DumpFile) b = NULL;

    qdict_put_bool(args, "allow-incomplete", true);
    result = dump(sealed->qts, args);
    b = dump_file_load(name);
    unlink(name);
    assert_lacks_missing_pages(a, b);
    assert_unreadable(result, MISSING_PAGES, 12582912);
    qobject_unref(result);
    query = query_dump(sealed->qts);
    assert_unreadable(query, MISSING_PAGES, 12582912);
    qobject_unref(query);
    qtest_shutdown(plain);
    qtest_shutdown(sealed);
}

static void test_unreadable_page_fails_the_dump(const void *format)
{
    QOSState *qs = start_stopped_guest(FAULTS);
    g_autofree char *name = temporary_name("fails");
    g_autofree char *info = NULL;
    QDict *query;

    dump_fails(qs->qts, dump_to_file(format, name),
               "failed to read guest memory at 0xc00000: ");
    assert_empty(name);
    query = query_dump(qs->qts);
    g_assert_cmpstr(qdict_get_str(query, "status"), ==, "failed");
    g_assert_nonnull(strstr(qdict_get_str(query, "error"), "at 0xc00000: "));
    qobject_unref(query);
    info = qtest_hmp(qs->qts, "info dump");
    g_assert_nonnull(strstr(info, "Error: failed to read guest memory at "
                            "0xc00000: "));
    qtest_shutdown(qs);
}

static void test_unreadable_pages_in_range(void)
{
    QOSState *qs = start_stopped_guest(FAULTS);
    g_autofree char *name = temporary_name("range");
    QDict *args = dump_to_file("elf", name), *result;
    g_autoptr(DumpFile) f = NULL;

    /* The range begins in the last bytes of the page before a missing one */
    qdict_put_int(args, "begin", 12582912 - 8);
    qdict_put_int(args, "length", 1 * MiB + 8);
    qdict_put_bool(args, "allow-incomplete", true);
    result = dump(qs->qts, args);
    assert_unreadable(result, 2, 12582912);
    qobject_unref(result);
    f = dump_file_load(name);
    unlink(name);
    g_assert_cmpint(dump_file_ehdr(f)->e_phnum, ==, 3);
    g_assert_cmphex(dump_file_phdr(f, 1)->p_paddr, ==, 12582912 - 8);
    g_assert_cmphex(dump_file_phdr(f, 1)->p_filesz, ==, 8);
    g_assert_cmphex(dump_file_phdr(f, 2)->p_paddr, ==, 12582912 + DUMP_PAGE);
    g_assert_cmphex(dump_file_phdr(f, 2)->p_filesz, ==,
                    13627392 - (12582912 + DUMP_PAGE));
    qtest_shutdown(qs);
}

static void test_hmp_names_missing_pages(void)
{
    QOSState *faults = start_stopped_guest(FAULTS);
    QOSState *absent = start_stopped_guest(ABSENT);
    g_autofree char *name = temporary_name("hmp");
    g_autofree char *out = qtest_hmp(faults->qts,
                                     "dump-guest-memory -z -R -i %s", name);
    g_autofree char *info = qtest_hmp(faults->qts, "info dump");
    g_autofree char *not_yet = qtest_hmp(absent->qts,
                                         "dump-guest-memory -z %s", name);

    g_assert_nonnull(strstr(out, "516 pages"));
    g_assert_nonnull(strstr(out, "0x0000000000c00000: "));
    g_assert_nonnull(strstr(out, "VMCOREINFO"));
    g_assert_nonnull(strstr(info, "completed"));
    g_assert_nonnull(strstr(info, "516 pages"));
    g_assert_nonnull(strstr(not_yet, "516 pages of 4 KiB are not in the "
                            "dump"));
    unlink(name);
    qtest_shutdown(faults);
    qtest_shutdown(absent);
}

/*
 * Tests: pipes
 */

typedef struct PipeReader {
    int fd;
    FILE *out;
} PipeReader;

static gpointer pipe_reader(gpointer opaque)
{
    PipeReader *r = opaque;
    char buf[4096];
    ssize_t got;

    while ((got = read(r->fd, buf, sizeof(buf))) > 0) {
        g_assert_cmpint(fwrite(buf, 1, got, r->out), ==, got);
    }
    return NULL;
}

/* Pass QEMU the write end of the pipe as file descriptor 'out' */
static int send_pipe(QTestState *qts)
{
    int fds[2];

    g_assert_true(g_unix_open_pipe(fds, FD_CLOEXEC, NULL));
    qtest_qmp_fds_assert_success(qts, &fds[1], 1, "{'execute': 'getfd', "
                                 "'arguments': {'fdname': 'out'}}");
    close(fds[1]);
    return fds[0];
}

static DumpFile *dump_to_pipe(QTestState *qts, const char *format,
                              bool allow_incomplete, QDict **result)
{
    g_autofree char *name = temporary_name("pipe");
    PipeReader r = { .fd = send_pipe(qts), .out = fopen(name, "w") };
    GThread *thread = g_thread_new("reader", pipe_reader, &r);
    QDict *args = dump_arguments(format, "fd:out");
    DumpFile *f;

    qdict_put_bool(args, "allow-incomplete", allow_incomplete);
    *result = dump(qts, args);
    g_thread_join(thread);
    close(r.fd);
    fclose(r.out);
    f = dump_file_load(name);
    unlink(name);
    return f;
}

static void test_pipe(const void *format)
{
    QOSState *plain = start_stopped_guest(PLAIN);
    QOSState *sealed = start_stopped_guest("");
    QDict *result;
    g_autoptr(DumpFile) a = dump_all(plain->qts, format, NULL);
    g_autoptr(DumpFile) b = NULL;

    b = dump_to_pipe(sealed->qts, format, false, &result);
    g_assert_false(qdict_haskey(result, "unreadable"));
    qobject_unref(result);
    g_assert_cmpmem(a->data, a->len, b->data, b->len);
    qtest_shutdown(plain);
    qtest_shutdown(sealed);
}

static void test_pipe_lacks_missing_pages(const void *format)
{
    QOSState *plain = start_stopped_guest(PLAIN);
    QOSState *faults = start_stopped_guest(FAULTS);
    QOSState *absent = start_stopped_guest(ABSENT);
    QDict *result;
    g_autoptr(DumpFile) a = dump_all(plain->qts, format, NULL);
    g_autoptr(DumpFile) b = dump_to_pipe(faults->qts, format, true, &result);
    g_autoptr(DumpFile) c = NULL;

    assert_unreadable(result, MISSING_PAGES, 12582912);
    qobject_unref(result);
    assert_lacks_missing_pages(a, b);

    c = dump_to_pipe(absent->qts, format, true, &result);
    assert_absent(result, MISSING_PAGES);
    qobject_unref(result);
    assert_lacks_missing_pages(a, c);
    qtest_shutdown(plain);
    qtest_shutdown(faults);
    qtest_shutdown(absent);
}

static int64_t backend_reads(QTestState *qts)
{
    QDict *info = qtest_qmp_assert_success_ref(qts, "{'execute': "
                                               "'query-memory-debug'}");
    int64_t reads = qdict_get_int(qdict_get_qdict(info, "counts"), "reads");

    qobject_unref(info);
    return reads;
}

/* libvirt dumps through a pipe: it must not cost more than a file */
static void test_pipe_reads_no_more_than_file(const void *format)
{
    QOSState *qs = start_guest_with_ram("", 256);
    int64_t before, file, pipe;
    QDict *result;

    qtest_qmp_assert_success(qs->qts, "{'execute': 'stop'}");
    before = backend_reads(qs->qts);
    dump_file_free(dump_all(qs->qts, format, NULL));
    file = backend_reads(qs->qts) - before;
    before += file;
    dump_file_free(dump_to_pipe(qs->qts, format, false, &result));
    pipe = backend_reads(qs->qts) - before;
    qobject_unref(result);
    g_test_message("%" PRId64 " reads for a file, %" PRId64 " for a pipe",
                   file, pipe);
    g_assert_cmpint(file, >=, 256);
    g_assert_cmpint(file, <, 256 * 1.1);
    g_assert_cmpint(pipe, <=, file * 1.01);
    qtest_shutdown(qs);
}

/* Much of it is absent, so that samples find it: as in a young SNP guest */
static void test_pipe_without_half_of_the_guest(void)
{
    QOSState *qs = start_guest_with_ram(HALF_ABSENT, 256);
    QDict *result;
    g_autoptr(DumpFile) f = NULL;

    qtest_qmp_assert_success(qs->qts, "{'execute': 'stop'}");
    f = dump_to_pipe(qs->qts, "elf", false, &result);
    assert_absent(result, 128 * MiB / DUMP_PAGE);
    qobject_unref(result);
    g_assert_true(dump_file_page(f, 64 * MiB - DUMP_PAGE).present);
    g_assert_false(dump_file_page(f, 64 * MiB).present);
    g_assert_false(dump_file_page(f, 192 * MiB - DUMP_PAGE).present);
    g_assert_true(dump_file_page(f, 192 * MiB).present);
    qtest_shutdown(qs);
}

/* No sample finds it, and the headers are in the pipe already */
static void test_pipe_with_few_absent_pages(void)
{
    QOSState *qs = start_stopped_guest(ABSENT);
    PipeReader r = { .fd = send_pipe(qs->qts), .out = fopen("/dev/null", "w") };
    GThread *thread = g_thread_new("reader", pipe_reader, &r);

    dump_fails(qs->qts, dump_arguments("elf", "fd:out"),
               "the page at 0xc00000 is missing");
    g_thread_join(thread);
    close(r.fd);
    fclose(r.out);
    qtest_shutdown(qs);
}

static void test_pipe_closed(const void *format)
{
    QOSState *qs = start_stopped_guest("");

    close(send_pipe(qs->qts));
    dump_fails(qs->qts, dump_arguments(format, "fd:out"), "failed to");
    qtest_qmp_assert_success(qs->qts, "{'execute': 'cont'}");
    qtest_shutdown(qs);
}

/*
 * Tests: refusal and failure
 */

static void test_policy_forbids(const void *format)
{
    QOSState *qs = start_stopped_guest(FORBIDDEN);
    g_autofree char *name = temporary_name("policy");
    g_autofree char *old = NULL;
    gsize len;

    dump_fails(qs->qts, dump_to_file(format, name),
               "policy forbids debugging");
    g_assert_false(g_file_test(name, G_FILE_TEST_EXISTS));
    g_assert_true(g_file_set_contents(name, "old", 3, NULL));
    dump_fails(qs->qts, dump_to_file(format, name),
               "policy forbids debugging");
    g_assert_true(g_file_get_contents(name, &old, &len, NULL));
    g_assert_cmpmem(old, len, "old", 3);
    unlink(name);
    qtest_shutdown(qs);
}

static void test_disk_full(const void *format)
{
    QOSState *qs = start_stopped_guest("");

    dump_fails(qs->qts, dump_to_file(format, "/dev/full"), "failed to");
    qtest_qmp_assert_success(qs->qts, "{'execute': 'cont'}");
    qtest_shutdown(qs);
}

/* Of a dump that is under way */
static int64_t dumped_so_far(QTestState *qts)
{
    QDict *query = qtest_qmp_assert_success_ref(qts,
                                                "{'execute': 'query-dump'}");
    int64_t completed = qdict_get_int(query, "completed");

    g_assert_cmpstr(qdict_get_str(query, "status"), ==, "active");
    qobject_unref(query);
    return completed;
}

static void start_detached(QTestState *qts, QDict *args)
{
    qdict_put_bool(args, "detach", true);
    qobject_unref(dump(qts, args));
}

/* query-dump does not wait for a slow backend */
static void test_query_does_not_wait(void)
{
    QOSState *qs = start_stopped_guest(VERY_SLOW);
    g_autofree char *name = temporary_name("query");
    int64_t start, end, worst = 0;

    start_detached(qs->qts, dump_to_file("elf", name));
    end = g_get_monotonic_time() + 3 * G_USEC_PER_SEC;
    while ((start = g_get_monotonic_time()) < end) {
        dumped_so_far(qs->qts);
        worst = MAX(worst, g_get_monotonic_time() - start);
        g_usleep(1000);
    }
    g_test_message("query-dump took %" PRId64 " us at worst", worst);
    g_assert_cmpint(worst, <, VERY_SLOW_US / 4);
    qtest_qmp_assert_success(qs->qts, "{'execute': 'quit'}");
    qtest_wait_qemu(qs->qts);
    unlink(name);
    qtest_shutdown(qs);
}

/* Nothing may change the guest during a dump */
static void test_guest_is_left_alone(const void *format)
{
    QOSState *qs = start_guest(SLOW);
    g_autofree char *name = temporary_name("alone");
    QDict *data;

    start_detached(qs->qts, dump_to_file(format, name));
    for (int i = 0; i < 3; i++) {
        static const char *const commands[] = { "cont", "stop",
                                                "system_reset" };
        QDict *error = qtest_qmp_assert_failure_ref(
            qs->qts, "{'execute': %s}", commands[i]);

        g_assert_nonnull(strstr(qdict_get_str(error, "desc"),
                                "There is a dump in process"));
        qobject_unref(error);
    }
    for (int i = 0; i < 2; i++) {
        static const char *const commands[] = { "system_reset", "loadvm x" };
        g_autofree char *hmp = qtest_hmp(qs->qts, "%s", commands[i]);

        g_assert_nonnull(strstr(hmp, "There is a dump in process"));
    }
    dumped_so_far(qs->qts);
    data = wait_for_dump(qs->qts);
    g_assert_false(qdict_haskey(data, "error"));
    qobject_unref(data);
    unlink(name);
    qtest_qmp_assert_success(qs->qts, "{'execute': 'system_reset'}");
    qtest_qmp_eventwait(qs->qts, "RESET");
    qtest_shutdown(qs);
}

/* A guest that was running when it was dumped is not resumed after 'quit' */
static void test_quit(const void *format)
{
    QOSState *qs = start_guest(SLOW);
    g_autofree char *name = temporary_name("quit");
    QDict *event, *data;

    start_detached(qs->qts, dump_to_file(format, name));
    while (!dumped_so_far(qs->qts)) {
        g_usleep(10000);
    }
    /* The events may come before the response */
    qtest_qmp_send(qs->qts, "{'execute': 'quit'}");
    for (;;) {
        const char *what;

        event = qtest_qmp_receive_dict(qs->qts);
        what = qdict_get_try_str(event, "event");
        g_assert_cmpstr(what, !=, "RESUME");
        if (!g_strcmp0(what, "DUMP_COMPLETED")) {
            break;
        }
        qobject_unref(event);
    }
    data = qdict_get_qdict(event, "data");
    g_assert_nonnull(strstr(qdict_get_str(data, "error"), "QEMU is quitting"));
    qobject_unref(event);
    qtest_wait_qemu(qs->qts);
    assert_empty(name);
    qtest_shutdown(qs);
}

/* Quit while a dump waits for somebody to read the pipe */
static void test_quit_stuck(const void *format)
{
    QOSState *qs = start_stopped_guest("");
    QDict *args = dump_arguments(format, "fd:out");
    int fd = send_pipe(qs->qts);

    start_detached(qs->qts, args);
    g_usleep(G_USEC_PER_SEC / 2);
    dumped_so_far(qs->qts);
    qtest_qmp_assert_success(qs->qts, "{'execute': 'quit'}");
    qtest_wait_qemu(qs->qts);
    close(fd);
    qtest_shutdown(qs);
}

/*
 * Tests: readers
 */

static double seconds_to_dump(QTestState *qts, int readers, DumpFile **f)
{
    g_autofree char *name = temporary_name("readers");
    QDict *args = dump_to_file("elf", name);
    int64_t start = g_get_monotonic_time();

    qdict_put_int(args, "readers", readers);
    qobject_unref(dump(qts, args));
    start = g_get_monotonic_time() - start;
    *f = dump_file_load(name);
    unlink(name);
    return (double)start / G_USEC_PER_SEC;
}

/* Each call takes 100 ms, however many there are at once */
static void test_readers(void)
{
    static const struct { int readers; double gain; } cases[] = {
        { 2, 1.8 }, { 4, 3.5 }, { 8, 6.5 },
    };
    QOSState *qs = start_guest_with_ram(SLOW, 96);
    g_autoptr(DumpFile) a = NULL;
    double one;

    qtest_qmp_assert_success(qs->qts, "{'execute': 'stop'}");
    one = seconds_to_dump(qs->qts, 1, &a);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autoptr(DumpFile) b = NULL;
        double t = seconds_to_dump(qs->qts, cases[i].readers, &b);

        g_test_message("%d readers are %.2f times as fast as one",
                       cases[i].readers, one / t);
        g_assert_cmpfloat(one / t, >=, cases[i].gain);
        g_assert_cmpmem(a->data, a->len, b->data, b->len);
    }
    qtest_shutdown(qs);
}

static void test_number_of_readers(void)
{
    QOSState *qs = start_stopped_guest("");
    QDict *args = dump_to_file("elf", "/dev/null");

    qdict_put_int(args, "readers", 0);
    dump_fails(qs->qts, args, "must be between 1 and 64");
    qtest_shutdown(qs);
}

/*
 * Tests: notes
 */

static void test_note(const void *properties)
{
    QOSState *plain = start_guest(PLAIN), *sealed = start_guest(properties);
    QOSState *guests[] = { plain, sealed };
    char note[DUMP_PAGE];
    size_t size = make_note(note, "VMCOREINFO", "OSRELEASE=6.1\nPAGESIZE=4096");

    for (int i = 0; i < 2; i++) {
        qtest_memwrite(guests[i]->qts, 20 * MiB, note, sizeof(note));
        tell_note(guests[i], 20 * MiB, size);
        qtest_qmp_assert_success(guests[i]->qts, "{'execute': 'stop'}");
    }
    for (int i = 0; i < ARRAY_SIZE(formats); i++) {
        QDict *result;
        g_autoptr(DumpFile) a = dump_all(plain->qts, formats[i], NULL);
        g_autoptr(DumpFile) b = dump_all(sealed->qts, formats[i], &result);

        g_assert_cmpmem(a->data, a->len, b->data, b->len);
        g_assert_nonnull(memmem(b->data, DUMP_PAGE * 3, note, size));
        g_assert_false(qdict_haskey(result, "warnings"));
        qobject_unref(result);
    }
    qtest_shutdown(plain);
    qtest_shutdown(sealed);
}

/* The guest announces @note, which must be refused with @reason */
static void bad_note(const char *properties, uint64_t gpa, const char *note,
                     size_t size, const char *reason)
{
    QOSState *qs = start_guest(properties);
    g_autofree char *name = temporary_name("note");
    QDict *args = dump_to_file("elf", name), *result;

    if (note) {
        qtest_memwrite(qs->qts, gpa, note, DUMP_PAGE);
    }
    tell_note(qs, gpa, size);
    qtest_qmp_assert_success(qs->qts, "{'execute': 'stop'}");
    /* the note may be in a page that cannot be read */
    qdict_put_bool(args, "allow-incomplete", true);
    result = dump(qs->qts, args);
    unlink(name);
    assert_warns(result, "no VMCOREINFO");
    assert_warns(result, reason);
    qobject_unref(result);
    qtest_shutdown(qs);
}

static void test_bad_notes(void)
{
    char note[DUMP_PAGE] = {};
    size_t size;

    /* zeros, which are accepted for a normal guest */
    bad_note("", 20 * MiB, note, 1000, "no ELF note");
    size = make_note(note, "SOMETHING", "OSRELEASE=6.1");
    bad_note("", 20 * MiB, note, size, "no ELF note");
    size = make_note(note, "VMCOREINFO", "OSRELEASE=6.1");
    bad_note("", 20 * MiB, note, size - 8, "claims 13 bytes");
    stl_le_p(note + 4, 0x7fffffff);
    bad_note("", 20 * MiB, note, 1000, "claims 2147483647 bytes");
    /* where nothing is mapped, and where memory cannot be read */
    bad_note("", 1 * GiB, NULL, 1000, "nothing is mapped");
    bad_note("", -100, NULL, 1000, "nothing is mapped");
    bad_note(FAULTS, 12582912, note, 1000, "x-fault");
}

static void test_no_note_told(void)
{
    QOSState *qs = start_stopped_guest("");
    QDict *result;
    g_autoptr(DumpFile) f = dump_all(qs->qts, "elf", &result);

    assert_warns(result, "has not announced a VMCOREINFO note");
    qobject_unref(result);
    qtest_shutdown(qs);
}

static void test_protected_registers(const void *format)
{
    QOSState *qs = start_guest(PROTECTED);
    char note[DUMP_PAGE];
    const char *notes;
    size_t size = make_note(note, "VMCOREINFO", "OSRELEASE=6.1"), got;
    QDict *result;
    g_autoptr(DumpFile) f = NULL;

    qtest_memwrite(qs->qts, 20 * MiB, note, sizeof(note));
    tell_note(qs, 20 * MiB, size);
    qtest_qmp_assert_success(qs->qts, "{'execute': 'stop'}");
    f = dump_all(qs->qts, format, &result);
    assert_warns(result, "registers are protected");
    if (dump_file_is_elf(f)) {
        g_assert_cmpint(dump_file_ehdr(f)->e_machine, ==, EM_X86_64);
    } else {
        g_assert_cmpstr(dump_file_machine(f), ==, "x86_64");
    }
    /* VMCOREINFO, but no registers */
    notes = dump_file_notes(f, &got);
    g_assert_cmpmem(notes, got, note, size);
    qobject_unref(result);
    qtest_shutdown(qs);
}

static void add_for_formats(const char *name, void (*test)(const void *))
{
    for (int i = 0; i < ARRAY_SIZE(formats); i++) {
        g_autofree char *path = g_strdup_printf("/encrypted-dump/%s/%s", name,
                                                formats[i]);

        qtest_add_data_func(path, formats[i], test);
    }
}

static void add_contents_tests(void)
{
    qtest_add_data_func("/encrypted-dump/equals-plain/cipher", "",
                        test_equals_plain);
    qtest_add_data_func("/encrypted-dump/equals-plain/hidden", HIDDEN,
                        test_equals_plain);
    qtest_add_data_func("/encrypted-dump/equals-plain/shared", SHARED,
                        test_equals_plain);
    qtest_add_func("/encrypted-dump/equals-plain/range",
                   test_equals_plain_in_range);
    qtest_add_func("/encrypted-dump/no-range-of-addresses",
                   test_no_range_of_addresses);
    qtest_add_func("/encrypted-dump/equals-plain/running",
                   test_running_guest_is_stopped_meanwhile);
    qtest_add_func("/encrypted-dump/zlib-page", test_zlib_page);
    add_for_formats("detached", test_detached);
    qtest_add_func("/encrypted-dump/detached/one-after-the-other",
                   test_one_after_the_other);
    qtest_add_func("/encrypted-dump/equals-plain/dimm", test_dimm);
    add_for_formats("missing/absent", test_absent_pages);
    add_for_formats("missing/unreadable", test_unreadable_pages);
    add_for_formats("missing/fails", test_unreadable_page_fails_the_dump);
    qtest_add_func("/encrypted-dump/missing/range",
                   test_unreadable_pages_in_range);
    qtest_add_func("/encrypted-dump/missing/hmp",
                   test_hmp_names_missing_pages);
}

static void add_pipe_tests(void)
{
    qtest_add_data_func("/encrypted-dump/pipe/elf", "elf", test_pipe);
    qtest_add_data_func("/encrypted-dump/pipe/kdump", "kdump-zlib", test_pipe);
    qtest_add_data_func("/encrypted-dump/pipe/missing/elf", "elf",
                        test_pipe_lacks_missing_pages);
    qtest_add_data_func("/encrypted-dump/pipe/missing/kdump", "kdump-zlib",
                        test_pipe_lacks_missing_pages);
    qtest_add_data_func("/encrypted-dump/pipe/reads/elf", "elf",
                        test_pipe_reads_no_more_than_file);
    qtest_add_data_func("/encrypted-dump/pipe/reads/kdump", "kdump-zlib",
                        test_pipe_reads_no_more_than_file);
    qtest_add_func("/encrypted-dump/pipe/half",
                   test_pipe_without_half_of_the_guest);
    qtest_add_func("/encrypted-dump/pipe/few",
                   test_pipe_with_few_absent_pages);
    qtest_add_data_func("/encrypted-dump/pipe/closed/elf", "elf",
                        test_pipe_closed);
    qtest_add_data_func("/encrypted-dump/pipe/closed/kdump", "kdump-zlib",
                        test_pipe_closed);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    add_contents_tests();
    add_pipe_tests();
    add_for_formats("policy-forbids", test_policy_forbids);
    add_for_formats("disk-full", test_disk_full);
    qtest_add_func("/encrypted-dump/query", test_query_does_not_wait);
    qtest_add_data_func("/encrypted-dump/left-alone/elf", "elf",
                        test_guest_is_left_alone);
    qtest_add_data_func("/encrypted-dump/left-alone/kdump", "kdump-zlib",
                        test_guest_is_left_alone);
    qtest_add_func("/encrypted-dump/readers/speed", test_readers);
    qtest_add_func("/encrypted-dump/readers/number", test_number_of_readers);
    qtest_add_data_func("/encrypted-dump/quit/elf", "elf", test_quit);
    qtest_add_data_func("/encrypted-dump/quit/kdump", "kdump-raw-zlib",
                        test_quit);
    qtest_add_data_func("/encrypted-dump/quit/stuck/elf", "elf",
                        test_quit_stuck);
    qtest_add_data_func("/encrypted-dump/quit/stuck/kdump", "kdump-zlib",
                        test_quit_stuck);
    qtest_add_data_func("/encrypted-dump/note/cipher", "", test_note);
    qtest_add_data_func("/encrypted-dump/note/hidden", HIDDEN, test_note);
    qtest_add_func("/encrypted-dump/note/bad", test_bad_notes);
    qtest_add_func("/encrypted-dump/note/none", test_no_note_told);
    add_for_formats("protected-registers", test_protected_registers);

    return g_test_run();
}
