/*
 * TDX guests under a debugger: what tdx.c tells
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef QEMU_I386_TDX_DEBUG_H
#define QEMU_I386_TDX_DEBUG_H

#include "qom/object.h"

/* ATTRIBUTES bit 0, TDX module base architecture specification */
#define TDX_TD_ATTRIBUTES_DEBUG     BIT_ULL(0)

/* Implement EncryptedGuest and the property "debug" */
void tdx_debug_class_init(ObjectClass *oc);

/* The TD's VM is there, its RAM is not.  Called with the BQL held. */
void tdx_debug_kvm_init(void);

/**
 * tdx_debug_set_attributes: a TD with @attributes is about to be created
 *
 * @supported: what KVM_TDX_CAPABILITIES says that KVM supports
 *
 * Returns false with @errp set if they have the DEBUG bit and KVM does not
 * support it.  Called with the BQL held.
 */
bool tdx_debug_set_attributes(uint64_t attributes, uint64_t supported,
                              Error **errp);

/*
 * The TD is launched and its vCPUs have not run yet: ask KVM for its
 * registers.  Called with the BQL held.
 */
void tdx_debug_finalized(void);

#endif
