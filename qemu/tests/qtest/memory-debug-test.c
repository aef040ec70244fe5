/*
 * The operator's ways to guest memory: the memory-debug object, the QMP
 * commands and their HMP forms
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/*
 * qtest's own memory commands are the raw view: what the host sees.  With
 * the qtest accelerator the VM counts as running from the start, so a
 * simulated encrypted guest is launched; 'stop' encrypts its memory.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "libqos/fw_cfg.h"
#include "libqos/libqos-pc.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "standard-headers/linux/qemu_fw_cfg.h"

#define PATTERN     "The quick brown fox jumps over the lazy dog 0123456789."
#define PATTERN_LEN sizeof(PATTERN)
#define PATTERN_GPA 0x123ff8ULL         /* crosses a page */

#define NORMAL      "-machine pc "
#define ENCRYPTED   "-machine pc,confidential-guest-support=cg0 " \
                    "-object sim-encrypted-guest,id=cg0"
/* The same with properties that are lists, and so need JSON */
#define RANGES(json) "-machine pc,confidential-guest-support=cg0 "            \
                     "-object '{\"qom-type\": \"sim-encrypted-guest\", "      \
                     "\"id\": \"cg0\", " json "}'"
#define D0          " -machine memory-debug=d0 -object memory-debug,id=d0"

/*
 * Helpers
 */

static QTestState *start(const char *args)
{
    QTestState *qts = qtest_initf("-m 64M -nodefaults %s", args);

    qtest_memwrite(qts, PATTERN_GPA, PATTERN, PATTERN_LEN);
    return qts;
}

static void stop(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
}

static QTestState *start_stopped(const char *args)
{
    QTestState *qts = start(args);

    stop(qts);
    return qts;
}

static void assert_contains(const char *text, const char *what)
{
    if (!strstr(text, what)) {
        g_test_message("no '%s' in: %s", what, text);
    }
    g_assert_nonnull(strstr(text, what));
}

static void assert_hmp_says(QTestState *qts, const char *cmd, const char *what)
{
    g_autofree char *out = qtest_hmp(qts, "%s", cmd);

    assert_contains(out, what);
}

/* Run a command, which must fail with an error that contains @what */
static void assert_fails(QTestState *qts, const char *what, const char *fmt,
                         ...) G_GNUC_PRINTF(3, 4);
static void assert_fails(QTestState *qts, const char *what, const char *fmt,
                         ...)
{
    QDict *error;
    va_list ap;

    va_start(ap, fmt);
    error = qtest_vqmp_assert_failure_ref(qts, fmt, ap);
    va_end(ap);
    assert_contains(qdict_get_str(error, "desc"), what);
    qobject_unref(error);
}

/* @more: further arguments, each after a comma */
#define READ(more)   "{'execute': 'memory-debug-read', 'arguments': "  \
                     "{'address': %" PRIu64 ", 'size': %" PRIu64 more "}}"
#define WRITE(more)  "{'execute': 'memory-debug-write', 'arguments': " \
                     "{'address': %" PRIu64 ", 'data': %s" more "}}"
#define PHYSICAL     ", 'space': 'physical'"
#define VIRTUAL      ", 'space': 'virtual'"
#define READ_RAW     READ(PHYSICAL ", 'view': 'raw'")

/* The bytes returned by READ; there must be @len of them */
static uint8_t *answer_bytes(QDict *answer, size_t len)
{
    gsize got;
    uint8_t *bytes = g_base64_decode(qdict_get_str(answer, "data"), &got);

    g_assert_cmpint(got, ==, len);
    g_assert_false(qdict_get_bool(answer, "assumed-private"));
    qobject_unref(answer);
    return bytes;
}

static uint8_t *read_physical(QTestState *qts, uint64_t addr, uint64_t len)
{
    return answer_bytes(qtest_qmp_assert_success_ref(
        qts, READ(PHYSICAL), addr, len), len);
}

static uint8_t *read_virtual(QTestState *qts, uint64_t addr, uint64_t len)
{
    return answer_bytes(qtest_qmp_assert_success_ref(
        qts, READ(VIRTUAL), addr, len), len);
}

static uint8_t *read_raw(QTestState *qts, uint64_t addr, uint64_t len)
{
    return answer_bytes(qtest_qmp_assert_success_ref(
        qts, READ_RAW, addr, len), len);
}

static void assert_pattern(QTestState *qts, uint64_t addr)
{
    g_autofree uint8_t *bytes = read_physical(qts, addr, PATTERN_LEN);

    g_assert_cmpmem(bytes, PATTERN_LEN, PATTERN, PATTERN_LEN);
}

/* Check that the raw view, i.e. qtest's memory commands, has no plaintext */
static void assert_hidden(QTestState *qts)
{
    char raw[PATTERN_LEN];

    qtest_memread(qts, PATTERN_GPA, raw, sizeof(raw));
    g_assert_null(memmem(raw, sizeof(raw), "quick", 5));
    g_assert_null(memmem(raw, sizeof(raw), "lazy", 4));
}

static void write_physical(QTestState *qts, uint64_t addr, const void *data,
                           size_t len)
{
    g_autofree char *encoded = g_base64_encode(data, len);

    qtest_qmp_assert_success(qts, WRITE(PHYSICAL), addr, encoded);
}

static QDict *query(QTestState *qts)
{
    return qtest_qmp_assert_success_ref(qts,
                                        "{'execute': 'query-memory-debug'}");
}

/* What debuggers may do, and which setting @forbids the rest, if any */
static void assert_access(QTestState *qts, const char *access,
                          const char *forbids)
{
    QDict *info = query(qts);

    g_assert_cmpstr(qdict_get_str(info, "access"), ==, access);
    g_assert_cmpint(qdict_haskey(info, "forbidden-by"), ==, !!forbids);
    if (forbids) {
        assert_contains(qdict_get_str(info, "forbidden-by"), forbids);
    }
    qobject_unref(info);
}

static void qom_set(QTestState *qts, const char *path, const char *property,
                    const char *json)
{
    g_autofree char *cmd = g_strdup_printf(
        "{'execute': 'qom-set', 'arguments': {'path': '%s', 'property': '%s',"
        " 'value': %s}}", path, property, json);

    qtest_qmp_assert_success(qts, cmd, NULL);
}

static void assert_qom_set_fails(QTestState *qts, const char *path,
                                 const char *property, const char *json,
                                 const char *what)
{
    g_autofree char *cmd = g_strdup_printf(
        "{'execute': 'qom-set', 'arguments': {'path': '%s', 'property': '%s',"
        " 'value': %s}}", path, property, json);

    assert_fails(qts, what, cmd, NULL);
}

/*
 * memory-debug-read and memory-debug-write
 */

static void test_read(const void *args)
{
    QTestState *qts = start_stopped(args);
    g_autofree uint8_t *one = read_virtual(qts, PATTERN_GPA, PATTERN_LEN);

    /* without paging, a virtual address is a physical one */
    g_assert_cmpmem(one, PATTERN_LEN, PATTERN, PATTERN_LEN);
    assert_pattern(qts, PATTERN_GPA);
    if (strstr(args, "cg0")) {
        assert_hidden(qts);
    }
    qtest_quit(qts);
}

static void test_raw_view(const void *args)
{
    QTestState *qts = start_stopped(args);
    g_autofree uint8_t *raw = read_raw(qts, PATTERN_GPA, PATTERN_LEN);
    g_autofree uint8_t *bit = NULL;
    char seen[PATTERN_LEN];

    qtest_memread(qts, PATTERN_GPA, seen, sizeof(seen));
    g_assert_cmpmem(raw, PATTERN_LEN, seen, PATTERN_LEN);
    if (strstr(args, "cg0")) {
        g_assert_null(memmem(raw, PATTERN_LEN, "quick", 5));
    } else {
        g_assert_cmpmem(raw, PATTERN_LEN, PATTERN, PATTERN_LEN);
    }
    if (strstr(args, "cbitpos=51")) {
        bit = read_raw(qts, PATTERN_GPA | 1ULL << 51, PATTERN_LEN);
        g_assert_cmpmem(bit, PATTERN_LEN, seen, PATTERN_LEN);
    }
    qtest_quit(qts);
}

static void test_raw_view_refused(void)
{
    QTestState *qts = start_stopped(ENCRYPTED);

    assert_fails(qts, "no RAM or ROM", READ_RAW, (uint64_t)(64 * MiB),
                 (uint64_t)16);
    assert_fails(qts, "no RAM or ROM", READ_RAW, (uint64_t)(64 * MiB - 8),
                 (uint64_t)16);
    /* the raw view does not read a device's registers */
    assert_fails(qts, "no RAM or ROM", READ_RAW, (uint64_t)0xfee00000,
                 (uint64_t)16);
    assert_fails(qts, "physical addresses only",
                 "{'execute': 'memory-debug-read', 'arguments': {'address': 0,"
                 " 'size': 16, 'space': 'virtual', 'view': 'raw'}}");
    qtest_quit(qts);
}

static void test_read_sizes(const void *args)
{
    QTestState *qts = start_stopped(args);
    g_autofree uint8_t *none = read_physical(qts, PATTERN_GPA, 0);
    g_autofree uint8_t *most = read_physical(qts, 1 * MiB, 1 * MiB);

    g_assert_cmpmem(most + PATTERN_GPA - 1 * MiB, PATTERN_LEN,
                    PATTERN, PATTERN_LEN);
    assert_fails(qts, "exceed the limit", READ(PHYSICAL), (uint64_t)(1 * MiB),
                 (uint64_t)(1 * MiB + 1));
    assert_fails(qts, "exceed the limit", READ(PHYSICAL), (uint64_t)(1 * MiB),
                 UINT64_MAX);
    qtest_quit(qts);
}

static void test_read_fails(const void *args)
{
    QTestState *qts = start_stopped(args);

    assert_fails(qts, "nothing is mapped at physical address 0x4000000",
                 READ(PHYSICAL), (uint64_t)(64 * MiB), (uint64_t)16);
    /* It names the first byte that is missing */
    assert_fails(qts, "nothing is mapped at physical address 0x4000000",
                 READ(PHYSICAL), (uint64_t)(64 * MiB - 8), (uint64_t)16);
    assert_fails(qts, "nothing is mapped", READ(PHYSICAL), UINT64_MAX,
                 (uint64_t)16);
    assert_fails(qts, "virtual addresses only",
                 "{'execute': 'memory-debug-read', 'arguments': {'address': 0,"
                 " 'size': 16, 'space': 'physical', 'cpu-index': 0}}");
    assert_fails(qts, "no vCPU 77",
                 "{'execute': 'memory-debug-read', 'arguments': {'address': 0,"
                 " 'size': 16, 'space': 'virtual', 'cpu-index': 77}}");
    assert_fails(qts, "no vCPU 4294967296",
                 "{'execute': 'memory-debug-read', 'arguments': {'address': 0,"
                 " 'size': 16, 'space': 'virtual', 'cpu-index': 4294967296}}");
    qtest_quit(qts);
}

static void test_write(const void *args)
{
    QTestState *qts = start_stopped(args);
    g_autofree uint8_t *bytes = NULL;
    char expected[PATTERN_LEN] = PATTERN;
    char seen[PATTERN_LEN];

    /* across a page border, without changing neighbouring bytes */
    memcpy(expected + 3, "SLOW BLACK", 10);
    write_physical(qts, PATTERN_GPA + 3, "SLOW BLACK", 10);
    bytes = read_physical(qts, PATTERN_GPA, PATTERN_LEN);
    g_assert_cmpmem(bytes, PATTERN_LEN, expected, PATTERN_LEN);
    if (strstr(args, "cg0")) {
        assert_hidden(qts);
    }
    /* the guest sees it, too */
    qtest_qmp_assert_success(qts, "{'execute': 'cont'}");
    qtest_memread(qts, PATTERN_GPA, seen, sizeof(seen));
    g_assert_cmpmem(seen, PATTERN_LEN, expected, PATTERN_LEN);
    qtest_quit(qts);
}

static void test_write_rom(const void *args)
{
    QTestState *qts = start_stopped(args);
    g_autofree uint8_t *bytes = NULL;

    write_physical(qts, 0xffffff00, "ROM", 3);
    bytes = read_physical(qts, 0xffffff00, 3);
    g_assert_cmpmem(bytes, 3, "ROM", 3);
    qtest_quit(qts);
}

static void test_write_fails(const void *args)
{
    QTestState *qts = start_stopped(args);
    g_autofree uint8_t *big = g_malloc0(1 * MiB + 1);
    g_autofree char *encoded = g_base64_encode(big, 1 * MiB + 1);

    assert_fails(qts, "Base64", WRITE(PHYSICAL), (uint64_t)0, "no!");
    assert_fails(qts, "exceed the limit", WRITE(PHYSICAL), (uint64_t)(2 * MiB),
                 encoded);
    if (strstr(args, "cg0")) {
        assert_fails(qts, "nothing is mapped", WRITE(PHYSICAL),
                     (uint64_t)(64 * MiB - 1), "AAAA");
    }
    assert_fails(qts, "no vCPU 1",
                 "{'execute': 'memory-debug-write', 'arguments': "
                 "{'address': 0, 'data': '', 'space': 'virtual', "
                 "'cpu-index': 1}}");
    assert_pattern(qts, PATTERN_GPA);
    qtest_quit(qts);
}

static void test_policy_forbids(void)
{
    QTestState *qts = start_stopped(ENCRYPTED ",policy-debug=off");
    g_autofree uint8_t *raw = NULL;
    QDict *info, *last;

    assert_access(qts, "none", "policy");
    assert_fails(qts, "policy forbids debugging", READ(PHYSICAL),
                 (uint64_t)PATTERN_GPA, (uint64_t)16);
    assert_fails(qts, "policy forbids debugging", WRITE(PHYSICAL),
                 (uint64_t)PATTERN_GPA, "AAAA");

    /* the policy does not cover what the host sees anyway */
    raw = read_raw(qts, PATTERN_GPA, PATTERN_LEN);
    g_assert_null(memmem(raw, PATTERN_LEN, "quick", 5));

    info = query(qts);
    last = qdict_get_qdict(info, "last-failure");
    g_assert_cmphex(qdict_get_int(last, "address"), ==, PATTERN_GPA);
    g_assert_true(qdict_get_bool(last, "write"));
    assert_contains(qdict_get_str(last, "reason"), "policy forbids");
    qobject_unref(info);
    qtest_quit(qts);
}

/* The new commands wait for the guest's memory to arrive */
static void test_incoming(void)
{
    QTestState *qts = qtest_init(NORMAL "-m 64M -nodefaults -incoming defer");
    static const char why[] = "incoming migration";

    assert_hmp_says(qts, "memory-debug-read 0 16", why);
    assert_fails(qts, why, READ(PHYSICAL), (uint64_t)0, (uint64_t)16);
    assert_fails(qts, why, READ(VIRTUAL), (uint64_t)0, (uint64_t)16);
    assert_fails(qts, why, READ_RAW, (uint64_t)0, (uint64_t)16);
    assert_fails(qts, why, WRITE(PHYSICAL), (uint64_t)0, "AAAA");
    assert_access(qts, "none", why);
    /* QEMU's old ones behave as always with a normal guest */
    assert_hmp_says(qts, "xp /1xb 0", ": 0x00");
    assert_hmp_says(qts, "gva2gpa 0", "gpa: 0");
    qtest_quit(qts);
}

/*
 * HMP
 */

static void test_hmp(const void *args)
{
    QTestState *qts = start_stopped(args);
    g_autofree char *out = qtest_hmp(qts, "memory-debug-read 0x123ff8 56");

    assert_contains(out, "RAW");
    assert_contains(out, "\n0000000000124028: ");
    if (strstr(args, "cg0")) {
        g_assert_null(strstr(out, "quick"));
        g_assert_null(strstr(out, "71 75 69 63 6b"));
    } else {
        assert_contains(out, "0000000000123ff8: 54 68 65 20 71 75 69 63 6b 20 "
                        "62 72 6f 77 6e 20  The quick brown ");
    }
    assert_hmp_says(qts, "memory-debug-read 0x4000000 8", "no RAM or ROM");
    assert_hmp_says(qts, "memory-debug-read 0 0x100001", "exceed the limit");
    qtest_quit(qts);
}

static void test_hmp_info(void)
{
    QTestState *qts = start_stopped(ENCRYPTED ",cbitpos=51" D0
                                    ",access=read-only");

    assert_hmp_says(qts, "info memory-debug", "simulated, launched");
    assert_hmp_says(qts, "info memory-debug", "read-only: property 'access' "
                    "of memory-debug object 'd0' is 'read-only'");
    assert_hmp_says(qts, "info memory-debug", "51, set on private pages");
    assert_hmp_says(qts, "info memory-debug", "/objects/d0");
    assert_fails(qts, "'access'", WRITE(PHYSICAL), (uint64_t)0x1000, "AA==");
    assert_hmp_says(qts, "info memory-debug",
                    "write of physical address 0x1000: cannot write physical "
                    "address 0x1000: property 'access'");
    qtest_quit(qts);
}

/*
 * query-memory-debug
 */

static void test_query_normal_guest(void)
{
    QTestState *qts = start_stopped(NORMAL);
    QDict *info = query(qts);
    QDict *guest = qdict_get_qdict(info, "guest");

    g_assert_cmpstr(qdict_get_str(guest, "kind"), ==, "normal");
    g_assert_false(qdict_haskey(guest, "launched"));
    g_assert_false(qdict_haskey(guest, "backend"));
    g_assert_false(qdict_haskey(info, "object"));
    g_assert_false(qdict_haskey(info, "counts"));
    g_assert_false(qdict_haskey(info, "page-bit"));
    g_assert_false(qdict_haskey(info, "last-failure"));
    g_assert_cmpstr(qdict_get_str(info, "registers"), ==, "readable");
    g_assert_cmpstr(qdict_get_str(info, "page-tables"), ==, "registers");
    qobject_unref(info);
    assert_access(qts, "read-write", NULL);
    qtest_quit(qts);
}

static void test_query_encrypted_guest(void)
{
    QTestState *qts = start(ENCRYPTED ",cbitpos=47,cbit-set=shared "
                            "-S" D0);
    QDict *info = query(qts), *guest = qdict_get_qdict(info, "guest"), *bit;

    g_assert_cmpstr(qdict_get_str(guest, "kind"), ==, "simulated");
    g_assert_cmpstr(qdict_get_str(guest, "backend"), ==, "simulated");
    g_assert_false(qdict_get_bool(guest, "launched"));
    g_assert_cmpstr(qdict_get_str(info, "object"), ==, "/objects/d0");
    bit = qdict_get_qdict(info, "page-bit");
    g_assert_cmpint(qdict_get_int(bit, "number"), ==, 47);
    g_assert_cmpstr(qdict_get_str(bit, "set-means"), ==, "shared");
    qobject_unref(info);

    qtest_qmp_assert_success(qts, "{'execute': 'cont'}");
    info = query(qts);
    guest = qdict_get_qdict(info, "guest");
    g_assert_true(qdict_get_bool(guest, "launched"));
    qobject_unref(info);
    qtest_quit(qts);
}

static void test_query_counts(void)
{
    QTestState *qts = start_stopped(
        RANGES("\"x-fault\": [{\"start\": 2097152, \"size\": 4096}]"));
    QDict *info, *counts, *last;

    assert_pattern(qts, PATTERN_GPA);       /* 2 reads of a page each */
    assert_pattern(qts, PATTERN_GPA);       /* 2 cache hits */
    write_physical(qts, 0x300000, "1234", 4);
    assert_fails(qts, "x-fault", READ(PHYSICAL), (uint64_t)0x200010,
                 (uint64_t)1);
    assert_fails(qts, "nothing is mapped", READ(PHYSICAL),
                 (uint64_t)(64 * MiB), (uint64_t)1);
    info = query(qts);
    counts = qdict_get_qdict(info, "counts");
    g_assert_cmpint(qdict_get_int(counts, "reads"), ==, 3);
    g_assert_cmpint(qdict_get_int(counts, "bytes-read"), ==, 3 * 4096);
    g_assert_cmpint(qdict_get_int(counts, "cache-hits"), ==, 2);
    g_assert_cmpint(qdict_get_int(counts, "writes"), ==, 1);
    g_assert_cmpint(qdict_get_int(counts, "bytes-written"), ==, 4);
    last = qdict_get_qdict(info, "last-failure");
    g_assert_cmphex(qdict_get_int(last, "address"), ==, 64 * MiB);
    g_assert_cmpstr(qdict_get_str(last, "space"), ==, "physical");
    g_assert_false(qdict_get_bool(last, "write"));
    assert_contains(qdict_get_str(last, "reason"), "nothing is mapped");
    qobject_unref(info);
    qtest_quit(qts);
}

static void test_query_conflict(void)
{
    QTestState *qts = start_stopped(
        RANGES("\"cbitpos\": 51, "
               "\"shared\": [{\"start\": 1191936, \"size\": 8192}]"));

    assert_fails(qts, "shared with the host", READ(PHYSICAL),
                 (uint64_t)(PATTERN_GPA | 1ULL << 51), (uint64_t)8);
    assert_pattern(qts, PATTERN_GPA);
    qtest_quit(qts);
}

/*
 * The memory-debug object
 */

/* All commands are refused, with errors that name the object */
static void test_none(const void *args)
{
    QTestState *qts = start_stopped(args);
    const char *why = "property 'access' of memory-debug object 'd0' is 'none'";

    assert_fails(qts, why, READ(PHYSICAL), (uint64_t)PATTERN_GPA,
                 (uint64_t)16);
    assert_fails(qts, why, READ(VIRTUAL), (uint64_t)PATTERN_GPA,
                 (uint64_t)16);
    assert_fails(qts, why, READ_RAW, (uint64_t)PATTERN_GPA, (uint64_t)16);
    assert_fails(qts, why, WRITE(PHYSICAL), (uint64_t)PATTERN_GPA, "AAAA");
    assert_fails(qts, why, "{'execute': 'pmemsave', 'arguments': {'val': 0, "
                 "'size': 1, 'filename': '/dev/null'}}");
    assert_hmp_says(qts, "xp /4xb 0x123ff8", " Cannot access memory");
    assert_hmp_says(qts, "xp /4xb 0x123ff8", why);
    assert_hmp_says(qts, "x /4xb 0x123ff8", why);
    assert_hmp_says(qts, "x /1i 0x123ff8", why);
    assert_hmp_says(qts, "sum 0x123ff8 16", why);
    assert_hmp_says(qts, "memory-debug-read 0x123ff8 16", why);
    assert_hmp_says(qts, "gpa2hva 0x123ff8", "encrypted");
    assert_access(qts, "none", why);
    qtest_quit(qts);
}

static void test_read_only(const void *args)
{
    QTestState *qts = start_stopped(args);
    const char *why =
        "property 'access' of memory-debug object 'd0' is 'read-only'";
    char before[PATTERN_LEN], after[PATTERN_LEN];

    qtest_memread(qts, PATTERN_GPA, before, sizeof(before));
    assert_fails(qts, why, WRITE(PHYSICAL), (uint64_t)PATTERN_GPA, "AAAA");
    assert_fails(qts, why, WRITE(VIRTUAL), (uint64_t)PATTERN_GPA, "AAAA");
    assert_pattern(qts, PATTERN_GPA);
    qtest_memread(qts, PATTERN_GPA, after, sizeof(after));
    g_assert_cmpmem(before, sizeof(before), after, sizeof(after));
    assert_access(qts, "read-only", why);
    qtest_quit(qts);
}

static void test_required_is_possible(const void *args)
{
    QTestState *qts = start_stopped(args);

    assert_pattern(qts, PATTERN_GPA);
    qtest_quit(qts);
}

/* qom-set can only make access stricter */
static void test_changes(const void *args)
{
    QTestState *qts = start_stopped(args);

    assert_qom_set_fails(qts, "/objects/d0", "required", "true",
                         "cannot be changed");
    write_physical(qts, PATTERN_GPA, "T", 1);
    qom_set(qts, "/objects/d0", "access", "'read-only'");
    assert_fails(qts, "'read-only'", WRITE(PHYSICAL), (uint64_t)PATTERN_GPA,
                 "AAAA");
    assert_qom_set_fails(qts, "/objects/d0", "access", "'read-write'",
                         "stricter");
    assert_pattern(qts, PATTERN_GPA);

    qom_set(qts, "/objects/d0", "access", "'none'");
    assert_fails(qts, "'none'", READ(PHYSICAL), (uint64_t)PATTERN_GPA,
                 (uint64_t)8);
    assert_qom_set_fails(qts, "/objects/d0", "access", "'read-write'",
                         "stricter");
    assert_qom_set_fails(qts, "/objects/d0", "access", "'read-only'",
                         "stricter");
    assert_qom_set_fails(qts, "/machine", "memory-debug", "''", "'d0'");
    assert_access(qts, "none", "'none'");
    qtest_quit(qts);
}

static void test_comes_late(const void *args)
{
    QTestState *qts = start_stopped(args);

    assert_qom_set_fails(qts, "/machine", "memory-debug", "'d0'",
                         "'d0' not found");
    qtest_qmp_assert_success(qts, "{'execute': 'object-add', 'arguments': "
        "{'qom-type': 'memory-debug', 'id': 'd0', 'access': 'read-only'}}");
    qtest_qmp_assert_success(qts, "{'execute': 'object-add', 'arguments': "
        "{'qom-type': 'memory-debug', 'id': 'd1', 'required': true}}");
    write_physical(qts, PATTERN_GPA, "T", 1);
    assert_qom_set_fails(qts, "/machine", "memory-debug", "'d1'",
                         "'required' has no effect");
    qom_set(qts, "/machine", "memory-debug", "'d0'");
    assert_fails(qts, "'read-only'", WRITE(PHYSICAL), (uint64_t)PATTERN_GPA,
                 "AAAA");
    assert_pattern(qts, PATTERN_GPA);

    /* and cannot be detached */
    assert_qom_set_fails(qts, "/machine", "memory-debug", "'d1'", "'d0'");
    assert_fails(qts, "in use", "{'execute': 'object-del', 'arguments': "
                 "{'id': 'd0'}}");
    qtest_qmp_assert_success(qts, "{'execute': 'object-del', 'arguments': "
                             "{'id': 'd1'}}");
    qtest_quit(qts);
}

/* A limit without effect must not be accepted */
static void test_normal_guest(void)
{
    QTestState *qts = start_stopped(NORMAL D0);

    assert_qom_set_fails(qts, "/objects/d0", "access", "'none'",
                         "has no effect");
    assert_pattern(qts, PATTERN_GPA);
    qtest_quit(qts);

    qts = start_stopped(NORMAL);
    qtest_qmp_assert_success(qts, "{'execute': 'object-add', 'arguments': "
        "{'qom-type': 'memory-debug', 'id': 'd0'}}");
    assert_qom_set_fails(qts, "/machine", "memory-debug", "'d0'",
                         "confidential guests only");
    qtest_quit(qts);
}

static void test_preconfig(void)
{
    QTestState *qts = qtest_init(ENCRYPTED D0 ",access=none -preconfig "
                                 "-m 64M -nodefaults");

    /* takes effect from the start, and can be neither replaced nor loosened */
    assert_qom_set_fails(qts, "/objects/d0", "access", "'read-write'",
                         "stricter");
    qtest_qmp_assert_success(qts, "{'execute': 'object-add', 'arguments': "
        "{'qom-type': 'memory-debug', 'id': 'd1'}}");
    assert_qom_set_fails(qts, "/machine", "memory-debug", "'d1'", "'d0'");
    qtest_qmp_assert_success(qts, "{'execute': 'x-exit-preconfig'}");
    assert_access(qts, "none", "'d0'");
    assert_hmp_says(qts, "xp /8xb 0xf0000", "Cannot access memory");
    qtest_quit(qts);
}

/* A start that fails leaves no VM behind */
static void test_preconfig_fails(void)
{
    QTestState *qts = qtest_init(ENCRYPTED ",policy-debug=off" D0
                                 ",access=read-only,required=on -preconfig "
                                 "-m 64M -nodefaults");

    qtest_qmp_send(qts, "{'execute': 'x-exit-preconfig'}");
    qtest_set_expected_status(qts, EXIT_FAILURE);
    qtest_wait_qemu(qts);
    qtest_quit(qts);
}

static void test_bad_tables(void)
{
    QTestState *qts = start_stopped(ENCRYPTED D0);

    assert_qom_set_fails(qts, "/objects/d0", "root", "'here'", "uint64");
    assert_qom_set_fails(qts, "/objects/d0", "find-root", "'here'", "here");
    assert_qom_set_fails(qts, "/objects/d0", "vcpus",
                         "[{'cpu-index': 0, 'root': 4096, 'paging': 'auto'}]",
                         "other than 'auto'");
    assert_fails(qts, "other than 'auto'", "{'execute': 'object-add', "
        "'arguments': {'qom-type': 'memory-debug', 'id': 'd1', "
        "'root': 4096}}");
    qtest_quit(qts);
}

/* A command line with which QEMU must exit at once, and say why */
typedef struct Refusal {
    const char *name, *args, *what;
} Refusal;

static const Refusal refusals[] = {
    { "policy", ENCRYPTED ",policy-debug=off" D0 ",required=on",
      "memory-debug object 'd0': the guest's policy forbids debugging" },
    { "access", ENCRYPTED D0 ",required=on,access=none",
      "memory-debug object 'd0': property 'access'" },
    { "normal-guest", NORMAL D0 ",access=none",
      "access=none has no effect on a guest that is not confidential" },
    { "normal-guest-read-only", NORMAL D0 ",access=read-only",
      "access=read-only has no effect" },
    { "machine-without-object", NORMAL "-machine memory-debug=d0",
      "'d0' not found" },
    { "object-of-other-type", ENCRYPTED " -machine memory-debug=cg0",
      "memory-debug" },
    { "root-without-paging", ENCRYPTED D0 ",root=0x1000",
      "other than 'auto'" },
};

/* It only causes a warning */
static const Refusal warnings[] = {
    { "object-without-machine", ENCRYPTED " -object memory-debug,id=d0",
      "'d0' has no effect without -machine memory-debug=d0" },
    { "object-of-other-name", ENCRYPTED D0 " -object memory-debug,id=d1",
      "'d1' has no effect without -machine memory-debug=d1" },
    { "normal-guest", NORMAL D0 ",required=on",
      "'d0' has no effect on a guest that is not confidential" },
};

/* Returns the exit status */
static int start_and_quit(const Refusal *refusal)
{
    g_autofree char *cmd = g_strdup_printf(
        "echo quit | %s -accel qtest -m 64M -nodefaults -display none -S "
        "-monitor stdio %s", qtest_qemu_binary(NULL), refusal->args);
    const char *argv[] = { "/bin/sh", "-c", cmd, NULL };
    g_autofree char *out = NULL, *err = NULL;
    int status;

    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, 0, NULL, NULL, &out,
                               &err, &status, NULL));
    assert_contains(err, refusal->what);
    return status;
}

static void test_refuses_to_start(const void *opaque)
{
    g_assert_cmpint(start_and_quit(opaque), !=, 0);
}

static void test_warns(const void *opaque)
{
    g_assert_cmpint(start_and_quit(opaque), ==, 0);
}

static void test_help(void)
{
    static const char *const names[] = {
        "access=", "required=", "root=", "paging=", "find-root=", "vcpus=",
    };
    g_autofree char *cmd = g_strdup_printf("%s -object memory-debug,help",
                                           qtest_qemu_binary(NULL));
    g_autofree char *out = NULL;

    g_assert_true(g_spawn_command_line_sync(cmd, &out, NULL, NULL, NULL));
    for (int i = 0; i < ARRAY_SIZE(names); i++) {
        assert_contains(out, names[i]);
    }
}

/*
 * query-vmcoreinfo
 */

#define NOTE_GPA    0x1234ffcULL        /* crosses a page */
#define TEXT        "OSRELEASE=6.1.0\nPAGESIZE=4096\n"

/* A note at NOTE_GPA with @len bytes of text, and its size */
static size_t write_note(QTestState *qts, const void *text, size_t len)
{
    struct {
        uint32_t words[3];
        char name[12];
    } note = {
        { cpu_to_le32(sizeof("VMCOREINFO")), cpu_to_le32(len), 0 },
        "VMCOREINFO"
    };

    qtest_memwrite(qts, NOTE_GPA, &note, sizeof(note));
    qtest_memwrite(qts, NOTE_GPA + sizeof(note), text, len);
    return sizeof(note) + len;
}

static void announce(QOSState *qs, uint64_t paddr, uint32_t size,
                     uint16_t format)
{
    g_autoptr(QFWCFG) fw_cfg = pc_fw_cfg_init(qs->qts);
    struct fw_cfg_vmcoreinfo info = {
        .guest_format = cpu_to_le16(format),
        .size = cpu_to_le32(size),
        .paddr = cpu_to_le64(paddr),
    };

    qfw_cfg_write_file(fw_cfg, qs, FW_CFG_VMCOREINFO_FILENAME, &info,
                       sizeof(info));
}

static QOSState *boot(const char *args)
{
    return qtest_pc_boot("-nodefaults -device vmcoreinfo %s", args);
}

#define QUERY_VMCOREINFO "{'execute': 'query-vmcoreinfo'}"

static void test_vmcoreinfo(const void *args)
{
    QOSState *qs = boot(args);
    size_t size = write_note(qs->qts, TEXT, strlen(TEXT));
    g_autofree char *base64 = g_base64_encode((uint8_t *)TEXT, strlen(TEXT));
    QDict *info;

    assert_fails(qs->qts, "not announced", QUERY_VMCOREINFO);
    announce(qs, NOTE_GPA, size, FW_CFG_VMCOREINFO_FORMAT_ELF);
    stop(qs->qts);
    info = qtest_qmp_assert_success_ref(qs->qts, QUERY_VMCOREINFO);
    g_assert_cmphex(qdict_get_int(info, "address"), ==, NOTE_GPA);
    g_assert_cmpint(qdict_get_int(info, "size"), ==, size);
    g_assert_cmpstr(qdict_get_str(info, "data"), ==, TEXT);
    qobject_unref(info);

    info = qtest_qmp_assert_success_ref(qs->qts,
        "{'execute': 'query-vmcoreinfo', 'arguments': {'format': 'base64'}}");
    g_assert_cmpstr(qdict_get_str(info, "data"), ==, base64);
    qobject_unref(info);
    assert_hmp_says(qs->qts, "info vmcoreinfo", "OSRELEASE=6.1.0");
    qtest_shutdown(qs);
}

static void test_vmcoreinfo_of_strange_bytes(void)
{
    static const char text[] = "A=\033[2J\n\xff\0B";
    QOSState *qs = boot(ENCRYPTED);
    size_t size = write_note(qs->qts, text, sizeof(text));
    g_autofree uint8_t *bytes = NULL;
    g_autofree char *hmp = NULL;
    QDict *info;
    gsize len;

    announce(qs, NOTE_GPA, size, FW_CFG_VMCOREINFO_FORMAT_ELF);
    stop(qs->qts);
    assert_fails(qs->qts, "base64", QUERY_VMCOREINFO);
    info = qtest_qmp_assert_success_ref(qs->qts,
        "{'execute': 'query-vmcoreinfo', 'arguments': {'format': 'base64'}}");
    bytes = g_base64_decode(qdict_get_str(info, "data"), &len);
    g_assert_cmpmem(bytes, len, text, sizeof(text));
    qobject_unref(info);
    hmp = qtest_hmp(qs->qts, "info vmcoreinfo");
    assert_contains(hmp, "A=.[2J");
    g_assert_null(strchr(hmp, '\033'));
    qtest_shutdown(qs);
}

typedef struct BadNote {
    const char *name;
    uint64_t paddr;
    uint32_t size;
    uint16_t format;
    const char *what;
} BadNote;

static const BadNote bad_notes[] = {
    { "format", NOTE_GPA, 64, 2, "format 2" },
    { "too-large", NOTE_GPA, 64 * KiB + 1, 1, "exceeds the limit" },
    { "absurdly-large", NOTE_GPA, UINT32_MAX, 1, "exceeds the limit" },
    { "empty", NOTE_GPA, 0, 1, "no ELF note" },
    { "cut", NOTE_GPA, 40, 1, "has room for" },
    { "elsewhere", NOTE_GPA + 4, 64, 1, "no ELF note" },
    { "unmapped", 0x80000000, 64, 1, "nothing is mapped" },
    { "half-unmapped", 128 * MiB - 32, 64, 1, "nothing is mapped" },
    { "wraps", UINT64_MAX - 32, 64, 1, "nothing is mapped" },
};

static void test_bad_vmcoreinfo(const void *opaque)
{
    const BadNote *bad = opaque;
    QOSState *qs = boot(ENCRYPTED);

    write_note(qs->qts, TEXT, strlen(TEXT));
    announce(qs, bad->paddr, bad->size, bad->format);
    stop(qs->qts);
    assert_fails(qs->qts, bad->what, QUERY_VMCOREINFO);
    assert_hmp_says(qs->qts, "info vmcoreinfo", bad->what);
    qtest_shutdown(qs);
}

static void test_no_vmcoreinfo_device(void)
{
    QTestState *qts = start(NORMAL);

    assert_fails(qts, "-device vmcoreinfo", QUERY_VMCOREINFO);
    qtest_quit(qts);
}

static void test_vmcoreinfo_is_forbidden(void)
{
    QOSState *qs = boot(ENCRYPTED ",policy-debug=off");
    size_t size = write_note(qs->qts, TEXT, strlen(TEXT));

    announce(qs, NOTE_GPA, size, FW_CFG_VMCOREINFO_FORMAT_ELF);
    stop(qs->qts);
    assert_fails(qs->qts, "policy forbids debugging", QUERY_VMCOREINFO);
    qtest_shutdown(qs);
}

/*
 * Guests whose registers are protected
 */

#define PROTECTED   ENCRYPTED ",protect-registers=on"
#define C_BIT       (1ULL << 51)

/*
 * Page tables for all modes, of which the lower two are the same.  They map
 * the two pages that the pattern is in at PATTERN_VA, or PATTERN_VA32.
 */
#define PML5        0x400000ULL
#define PML4        0x401000ULL
#define PDPT        0x402000ULL
#define PDPT32      0x403020ULL     /* 32 bytes, aligned to their size */
#define PD          0x404000ULL
#define PT          0x405000ULL
#define PATTERN_VA  0xffffffff81000ff8ULL
#define PATTERN_VA32 0x81000ff8ULL

static void write_entry(QTestState *qts, uint64_t table, int index,
                        uint64_t target, uint64_t bits)
{
    uint64_t entry = cpu_to_le64(target | bits);

    qtest_memwrite(qts, table + index * sizeof(entry), &entry, sizeof(entry));
}

static void write_tables(QTestState *qts, uint64_t page_bit)
{
    uint64_t page = PATTERN_GPA & ~0xfffULL;

    write_entry(qts, PML5, 511, PML4, page_bit | 3);
    write_entry(qts, PML4, 511, PDPT, page_bit | 3);
    write_entry(qts, PDPT, 510, PD, page_bit | 3);
    write_entry(qts, PDPT32, 2, PD, page_bit | 1);
    write_entry(qts, PD, 8, PT, page_bit | 3);
    write_entry(qts, PD, 10, PML5, page_bit | 0x83);    /* the tables */
    write_entry(qts, PT, 0, page, page_bit | 3);
    write_entry(qts, PT, 1, page + 0x1000, page_bit | 3);
}

static void assert_virtual_pattern(QTestState *qts, uint64_t va)
{
    g_autofree uint8_t *bytes = read_virtual(qts, va, PATTERN_LEN);

    g_assert_cmpmem(bytes, PATTERN_LEN, PATTERN, PATTERN_LEN);
    assert_hidden(qts);
}

static void assert_page_tables(QTestState *qts, const char *source)
{
    QDict *info = query(qts);

    g_assert_cmpstr(qdict_get_str(info, "registers"), ==, "protected");
    g_assert_cmpstr(qdict_get_str(info, "page-tables"), ==, source);
    qobject_unref(info);
}

static void test_registers_are_not_shown(void)
{
    QTestState *qts = start_stopped(PROTECTED);
    const char *const cmds[] = { "info registers", "print $rip", "p $pc + 8",
                                 "x /4xb $pc" };

    for (int i = 0; i < ARRAY_SIZE(cmds); i++) {
        g_autofree char *out = qtest_hmp(qts, "%s", cmds[i]);

        assert_contains(out, "registers of this guest are protected");
        /* not the reset state */
        g_assert_null(strstr(out, "fff0"));
        g_assert_null(strstr(out, "RIP"));
    }
    qtest_quit(qts);
}

static void test_neither_way(const void *args)
{
    QTestState *qts = start_stopped(args);

    write_tables(qts, 0);
    /* a virtual address is never taken for a physical one */
    assert_fails(qts, "root and paging", READ(VIRTUAL),
                 (uint64_t)PATTERN_GPA, (uint64_t)8);
    assert_fails(qts, "find-root=vmcoreinfo", READ(VIRTUAL),
                 (uint64_t)PATTERN_VA, (uint64_t)8);
    assert_fails(qts, "find-root=vmcoreinfo", WRITE(VIRTUAL),
                 (uint64_t)PATTERN_VA, "AAAA");
    assert_hmp_says(qts, "x /4xb 0x123ff8", "Cannot access memory");
    assert_hmp_says(qts, "x /4xb 0x123ff8", "root and paging");
    assert_page_tables(qts, "unknown");
    assert_pattern(qts, PATTERN_GPA);
    qtest_quit(qts);
}

static void test_root_by_address(const void *args)
{
    QTestState *qts = start(args);

    write_tables(qts, strstr(args, "cbitpos=51") ? C_BIT : 0);
    stop(qts);
    qom_set(qts, "/objects/d0", "root", "4198400");
    assert_fails(qts, "other than 'auto'", READ(VIRTUAL),
                 (uint64_t)PATTERN_VA, (uint64_t)8);
    qom_set(qts, "/objects/d0", "paging", "'4level'");
    assert_virtual_pattern(qts, PATTERN_VA);
    assert_page_tables(qts, "operator");
    if (strstr(args, "cbitpos=51")) {
        qom_set(qts, "/objects/d0", "root", "2251799817883648");
        assert_virtual_pattern(qts, PATTERN_VA);
    }

    qom_set(qts, "/objects/d0", "paging", "'5level'");
    assert_fails(qts, "not mapped", READ(VIRTUAL), (uint64_t)PATTERN_VA,
                 (uint64_t)8);
    qom_set(qts, "/objects/d0", "root", "4194304");
    assert_virtual_pattern(qts, PATTERN_VA);

    qom_set(qts, "/objects/d0", "paging", "'pae'");
    qom_set(qts, "/objects/d0", "root", "4206624");
    assert_virtual_pattern(qts, PATTERN_VA32);
    assert_fails(qts, "not mapped", READ(VIRTUAL),
                 (uint64_t)(PATTERN_VA32 + (1 << 30)), (uint64_t)8);

    qom_set(qts, "/objects/d0", "root", "4206632");
    assert_fails(qts, "aligned to 32 bytes", READ(VIRTUAL),
                 (uint64_t)PATTERN_VA32, (uint64_t)8);
    qom_set(qts, "/objects/d0", "root", "0");
    assert_fails(qts, "find-root=vmcoreinfo", READ(VIRTUAL),
                 (uint64_t)PATTERN_VA32, (uint64_t)8);
    qtest_quit(qts);
}

static void test_roots_of_vcpus(void)
{
    QTestState *qts = start(PROTECTED D0 ",root=0x403020,paging=pae -smp 2");

    write_tables(qts, 0);
    stop(qts);
    qom_set(qts, "/objects/d0", "vcpus",
            "[{'cpu-index': 1, 'root': 4198400, 'paging': '4level'}]");
    assert_virtual_pattern(qts, PATTERN_VA32);
    assert_fails(qts, "not mapped", "{'execute': 'memory-debug-read', "
                 "'arguments': {'address': %" PRIu64 ", 'size': 8, 'space': "
                 "'virtual', 'cpu-index': 1}}", (uint64_t)PATTERN_VA32);
    qobject_unref(qtest_qmp_assert_success_ref(qts,
        "{'execute': 'memory-debug-read', 'arguments': {'address': %" PRIu64
        ", 'size': 8, 'space': 'virtual', 'cpu-index': 1}}",
        (uint64_t)PATTERN_VA));
    qtest_quit(qts);
}

/* A kernel at 0xffffffff81000000 that lies at 0: its PML4 is init_top_pgt */
#define LINUX_TEXT  "SYMBOL(init_top_pgt)=ffffffff81401000\n"   \
                    "NUMBER(phys_base)=-16777216\n"

typedef struct LinuxNote {
    const char *name, *text, *what;     /* NULL: it works */
} LinuxNote;

static const LinuxNote linux_notes[] = {
    { "works", LINUX_TEXT "NUMBER(pgtable_l5_enabled)=0\n"
      "NUMBER(sme_mask)=2251799813685248\n", NULL },
    { "five-levels", "SYMBOL(init_top_pgt)=ffffffff81400000\n"
      "NUMBER(phys_base)=-16777216\nNUMBER(pgtable_l5_enabled)=1\n", NULL },
    { "no-mode", LINUX_TEXT, "no NUMBER(pgtable_l5_enabled)" },
    { "other-cbit", LINUX_TEXT "NUMBER(pgtable_l5_enabled)=0\n"
      "NUMBER(sme_mask)=140737488355328\n", "0x800000000000" },
    { "no-symbol", "NUMBER(phys_base)=0\n", "no SYMBOL(swapper_pg_dir)" },
    { "elsewhere", "SYMBOL(init_top_pgt)=ffffffff81401000\n"
      "NUMBER(phys_base)=2147483648\nNUMBER(pgtable_l5_enabled)=0\n",
      "nothing is mapped" },
    { "nonsense", "SYMBOL(init_top_pgt)=401000\nNUMBER(phys_base)=0\n",
      "not a page of an x86-64 kernel's image" },
};

static void test_root_by_vmcoreinfo(const void *opaque)
{
    const LinuxNote *note = opaque;
    QOSState *qs = boot(PROTECTED ",cbitpos=51" D0 ",find-root=vmcoreinfo");
    size_t size = write_note(qs->qts, note->text, strlen(note->text));

    qtest_memwrite(qs->qts, PATTERN_GPA, PATTERN, PATTERN_LEN);
    write_tables(qs->qts, C_BIT);
    assert_fails(qs->qts, "not announced", READ(VIRTUAL),
                 (uint64_t)PATTERN_VA, (uint64_t)8);
    announce(qs, NOTE_GPA, size, FW_CFG_VMCOREINFO_FORMAT_ELF);
    stop(qs->qts);
    assert_page_tables(qs->qts, "vmcoreinfo");
    if (note->what) {
        assert_fails(qs->qts, note->what, READ(VIRTUAL),
                     (uint64_t)PATTERN_VA, (uint64_t)8);
    } else {
        assert_virtual_pattern(qs->qts, PATTERN_VA);
    }
    qtest_shutdown(qs);
}

/*
 * Registration
 */

static void add_encrypted(const char *path, const char *args,
                          GTestDataFunc func)
{
    g_autofree char *cipher = g_strdup_printf("%s/cipher", path);
    g_autofree char *hidden = g_strdup_printf("%s/hidden", path);

    qtest_add_data_func_full(cipher, g_strdup_printf(ENCRYPTED ",cbitpos=51%s",
                                                     args), func, g_free);
    qtest_add_data_func_full(hidden, g_strdup_printf(ENCRYPTED ",mode=hidden%s",
                                                     args), func, g_free);
}

static void add(const char *path, const char *args, GTestDataFunc func)
{
    g_autofree char *normal = g_strdup_printf("%s/normal", path);

    qtest_add_data_func_full(normal, g_strdup_printf(NORMAL "%s", args), func,
                             g_free);
    add_encrypted(path, args, func);
}

static void add_access_tests(void)
{
    add("/memory-debug/read/plaintext", "", test_read);
    add("/memory-debug/read/sizes", "", test_read_sizes);
    add("/memory-debug/read/fails", "", test_read_fails);
    add("/memory-debug/raw/bytes", "", test_raw_view);
    qtest_add_func("/memory-debug/raw/refused",
                   test_raw_view_refused);
    add("/memory-debug/write/plaintext", "", test_write);
    add("/memory-debug/write/rom", "", test_write_rom);
    add("/memory-debug/write/fails", "", test_write_fails);
    qtest_add_func("/memory-debug/policy", test_policy_forbids);
    qtest_add_func("/memory-debug/incoming", test_incoming);
    add("/memory-debug/hmp/commands", "", test_hmp);
    qtest_add_func("/memory-debug/hmp/info", test_hmp_info);
    qtest_add_func("/memory-debug/query/normal", test_query_normal_guest);
    qtest_add_func("/memory-debug/query/encrypted",
                   test_query_encrypted_guest);
    qtest_add_func("/memory-debug/query/counts", test_query_counts);
    qtest_add_func("/memory-debug/query/conflict", test_query_conflict);
}

static void add_object_tests(void)
{
    add_encrypted("/memory-debug/object/none", D0 ",access=none", test_none);
    add_encrypted("/memory-debug/object/read-only", D0 ",access=read-only",
                  test_read_only);
    add("/memory-debug/object/required", D0 ",required=on",
        test_required_is_possible);
    add_encrypted("/memory-debug/object/changes", D0, test_changes);
    add_encrypted("/memory-debug/object/comes-late", "", test_comes_late);
    qtest_add_func("/memory-debug/object/normal-guest", test_normal_guest);
    qtest_add_func("/memory-debug/object/preconfig", test_preconfig);
    qtest_add_func("/memory-debug/object/preconfig/fails",
                   test_preconfig_fails);
    qtest_add_func("/memory-debug/object/bad-tables", test_bad_tables);
    qtest_add_func("/memory-debug/object/help", test_help);
    for (int i = 0; i < ARRAY_SIZE(refusals); i++) {
        g_autofree char *path =
            g_strdup_printf("/memory-debug/object/refuses/%s",
                            refusals[i].name);

        qtest_add_data_func(path, &refusals[i], test_refuses_to_start);
    }
    for (int i = 0; i < ARRAY_SIZE(warnings); i++) {
        g_autofree char *path =
            g_strdup_printf("/memory-debug/object/warns/%s", warnings[i].name);

        qtest_add_data_func(path, &warnings[i], test_warns);
    }
}

static void add_vmcoreinfo_tests(void)
{
    add("/memory-debug/vmcoreinfo/text", "", test_vmcoreinfo);
    qtest_add_func("/memory-debug/vmcoreinfo/strange-bytes",
                   test_vmcoreinfo_of_strange_bytes);
    qtest_add_func("/memory-debug/vmcoreinfo/no-device",
                   test_no_vmcoreinfo_device);
    qtest_add_func("/memory-debug/vmcoreinfo/forbidden",
                   test_vmcoreinfo_is_forbidden);
    for (int i = 0; i < ARRAY_SIZE(bad_notes); i++) {
        g_autofree char *path =
            g_strdup_printf("/memory-debug/vmcoreinfo/bad/%s",
                            bad_notes[i].name);

        qtest_add_data_func(path, &bad_notes[i], test_bad_vmcoreinfo);
    }
}

static void add_protected_tests(void)
{
    qtest_add_func("/memory-debug/protected/registers",
                   test_registers_are_not_shown);
    qtest_add_data_func("/memory-debug/protected/neither-way/no-object",
                        PROTECTED, test_neither_way);
    qtest_add_data_func("/memory-debug/protected/neither-way/object",
                        PROTECTED D0, test_neither_way);
    qtest_add_data_func("/memory-debug/protected/address", PROTECTED D0,
                        test_root_by_address);
    qtest_add_data_func("/memory-debug/protected/address/cbit",
                        PROTECTED ",cbitpos=51" D0, test_root_by_address);
    qtest_add_func("/memory-debug/protected/vcpus", test_roots_of_vcpus);
    for (int i = 0; i < ARRAY_SIZE(linux_notes); i++) {
        g_autofree char *path =
            g_strdup_printf("/memory-debug/protected/vmcoreinfo/%s",
                            linux_notes[i].name);

        qtest_add_data_func(path, &linux_notes[i], test_root_by_vmcoreinfo);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add_access_tests();
    add_protected_tests();
    add_object_tests();
    add_vmcoreinfo_tests();
    return g_test_run();
}
