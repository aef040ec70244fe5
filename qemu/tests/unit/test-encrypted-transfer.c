/*
 * Transfers that complete in parts
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "../../accel/kvm/encrypted-transfer.h"

#define LEN 10000

/* What a call of the kernel does */
typedef struct Answer {
    int ret;
    uint64_t len;       /* completed; KEEP: not stored */
} Answer;

#define KEEP UINT64_MAX
#define REST (UINT64_MAX - 1)

typedef struct Kernel {
    const Answer *answers;      /* the last one is repeated */
    unsigned n_answers;
    unsigned calls;
    uint64_t next;              /* where the next call must begin */
} Kernel;

static int kernel_step(void *opaque, uint64_t done, uint64_t *len)
{
    Kernel *k = opaque;
    const Answer *a = &k->answers[MIN(k->calls, k->n_answers - 1)];

    g_assert_cmpuint(done, ==, k->next);
    g_assert_cmpuint(*len, ==, LEN - done);
    k->calls++;
    if (a->len != KEEP) {
        *len = a->len == REST ? *len : a->len;
        k->next += *len;
    }
    return a->ret;
}

static int transfer(Kernel *k, const Answer *answers, unsigned n_answers,
                    uint64_t *done)
{
    *k = (Kernel) { .answers = answers, .n_answers = n_answers };
    return encrypted_transfer(kernel_step, k, LEN, done);
}

static void test_one_call_for_all(void)
{
    static const Answer answers[] = { { 0, REST } };
    uint64_t done;
    Kernel k;

    g_assert_cmpint(transfer(&k, answers, 1, &done), ==, 0);
    g_assert_cmpuint(done, ==, LEN);
    g_assert_cmpuint(k.calls, ==, 1);
}

static void test_nothing_to_do(void)
{
    uint64_t done = 1;

    g_assert_cmpint(encrypted_transfer(NULL, NULL, 0, &done), ==, 0);
    g_assert_cmpuint(done, ==, 0);
}

static void test_interruption_continues(void)
{
    static const Answer answers[] = {
        { -EINTR, 4096 }, { -EINTR, 0 }, { 0, 1000 }, { 0, REST }
    };
    uint64_t done;
    Kernel k;

    g_assert_cmpint(transfer(&k, answers, 4, &done), ==, 0);
    g_assert_cmpuint(done, ==, LEN);
    g_assert_cmpuint(k.calls, ==, 4);
}

static void test_interruption_without_length(void)
{
    static const Answer answers[] = { { -EINTR, KEEP }, { 0, REST } };
    uint64_t done;
    Kernel k;

    g_assert_cmpint(transfer(&k, answers, 2, &done), ==, 0);
    g_assert_cmpuint(done, ==, LEN);
}

static void test_endless_interruption_ends(void)
{
    static const Answer answers[] = { { -EINTR, 4096 }, { -EINTR, 0 } };
    uint64_t done;
    Kernel k;

    g_assert_cmpint(transfer(&k, answers, 2, &done), ==, -ETIMEDOUT);
    g_assert_cmpuint(done, ==, 4096);
    g_assert_cmpuint(k.calls, ==, 1 + ENCRYPTED_TRANSFER_MAX_STALLS);
}

static void test_success_without_progress_ends(void)
{
    static const Answer answers[] = { { -EINTR, 0 }, { 0, 0 } };
    uint64_t done;
    Kernel k;

    g_assert_cmpint(transfer(&k, answers, 2, &done), ==, -ETIMEDOUT);
    g_assert_cmpuint(done, ==, 0);
    g_assert_cmpuint(k.calls, ==, 2);
}

static void test_error_after_some_pages(void)
{
    static const Answer answers[] = { { -EINVAL, 8192 } };
    uint64_t done;
    Kernel k;

    g_assert_cmpint(transfer(&k, answers, 1, &done), ==, -EINVAL);
    g_assert_cmpuint(done, ==, 8192);
    g_assert_cmpuint(k.calls, ==, 1);
}

static void test_error_without_length(void)
{
    static const Answer answers[] = { { -ENOTTY, KEEP } };
    uint64_t done;
    Kernel k;

    g_assert_cmpint(transfer(&k, answers, 1, &done), ==, -ENOTTY);
    g_assert_cmpuint(done, ==, 0);
}

static void test_more_than_asked(void)
{
    static const Answer answers[] = { { 0, LEN + 1 } };
    uint64_t done;
    Kernel k;

    g_assert_cmpint(transfer(&k, answers, 1, &done), ==, -EPROTO);
    g_assert_cmpuint(done, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/encrypted-transfer/one-call", test_one_call_for_all);
    g_test_add_func("/encrypted-transfer/empty", test_nothing_to_do);
    g_test_add_func("/encrypted-transfer/interrupted/continues",
                    test_interruption_continues);
    g_test_add_func("/encrypted-transfer/interrupted/no-length",
                    test_interruption_without_length);
    g_test_add_func("/encrypted-transfer/interrupted/endless",
                    test_endless_interruption_ends);
    g_test_add_func("/encrypted-transfer/no-progress",
                    test_success_without_progress_ends);
    g_test_add_func("/encrypted-transfer/error/partial",
                    test_error_after_some_pages);
    g_test_add_func("/encrypted-transfer/error/no-length",
                    test_error_without_length);
    g_test_add_func("/encrypted-transfer/error/too-much",
                    test_more_than_asked);
    return g_test_run();
}
