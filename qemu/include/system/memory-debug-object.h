/*
 * The memory-debug object: limits of, and hints for, debuggers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef SYSTEM_MEMORY_DEBUG_OBJECT_H
#define SYSTEM_MEMORY_DEBUG_OBJECT_H

#include "exec/hwaddr.h"
#include "qapi/qapi-types-qom.h"
#include "qom/object.h"

/*
 * -object memory-debug,id=ID with -machine memory-debug=ID; its properties are
 * documented in qapi/qom.json.  MachineState::memory_debug is the machine's
 * object; once set, it cannot be changed.
 *
 * Functions are called with the BQL held unless they say otherwise.
 */
#define TYPE_MEMORY_DEBUG_OBJECT "memory-debug"
OBJECT_DECLARE_SIMPLE_TYPE(MemoryDebugObject, MEMORY_DEBUG_OBJECT)

/**
 * memory_debug_object_check_link: may @target become the object of the
 * machine @obj?  The check function of the machine's link property @name.
 */
void memory_debug_object_check_link(const Object *obj, const char *name,
                                    Object *target, Error **errp);

/**
 * memory_debug_object_start: does the guest have what the machine's object
 * requires?
 *
 * Called once, when the machine is complete and the policy and backend of a
 * confidential guest are known.  Returns false with @errp set if the VM must
 * not start.  Warns about an object without effect.
 */
bool memory_debug_object_start(Error **errp);

/**
 * memory_debug_object_check: does the machine's object, if there is one, allow
 * debuggers to read, or to write if @is_write?
 *
 * May be called from any thread.  Returns false with @errp set if not.
 */
bool memory_debug_object_check(bool is_write, Error **errp);

/**
 * MemoryDebugTables: what the operator says about a vCPU's page tables
 *
 * @from_vmcoreinfo: the root is to be found in the guest's VMCOREINFO
 * @root: its guest-physical address, unless @from_vmcoreinfo
 * @paging: MEMORY_DEBUG_PAGING_AUTO only with @from_vmcoreinfo
 */
typedef struct MemoryDebugTables {
    bool from_vmcoreinfo;
    hwaddr root;
    MemoryDebugPaging paging;
} MemoryDebugTables;

/**
 * memory_debug_object_tables: the page tables of a vCPU whose registers are
 * protected
 *
 * Returns false if the operator has not provided enough information, with
 * @errp naming the properties to set.
 */
bool memory_debug_object_tables(int cpu_index, MemoryDebugTables *tables,
                                Error **errp);

#endif
