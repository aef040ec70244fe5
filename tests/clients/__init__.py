# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tools of a Debian release make of an encrypted guest."""
