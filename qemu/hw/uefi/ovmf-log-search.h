/*
 * Search guest memory for OVMF's debug log
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef OVMF_LOG_SEARCH_H
#define OVMF_LOG_SEARCH_H

#include "exec/hwaddr.h"

/**
 * ovmf_log_search: find a page that begins with @magic
 *
 * @start, @end: guest-physical range, @start at the beginning of a page
 * @magic: @len bytes, at most a page
 * @why: set to why a page could not be read, if it is not set already; the
 *       search goes on behind that page
 *
 * The memory is read as debuggers do, in runs of up to 1 MiB.
 * Returns the page's address, or -1.  Called with the BQL held.
 */
hwaddr ovmf_log_search(hwaddr start, hwaddr end, const void *magic,
                       size_t len, Error **why);

#endif
