# SPDX-License-Identifier: GPL-2.0-or-later
# Short names for what scripts/ and tests/ do. `make` lists them.

BASE ?= $(shell cat scripts/default-base)
export BASE
# 1 or thread: build, and test, with sanitizers (see tests/run)
SANITIZE ?=
export SANITIZE
PREFIX ?= /usr/local
out = build/$(BASE)

help:
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' Makefile | sed 's/\$$\$$/$$/' | column -t -s '|'

deps: ## install the packages that building and testing need
	@scripts/deps

base: build-deps ## get and verify the unpatched QEMU
	@scripts/base

assemble: base ## put the series on top of it, in build/BASE/src
	@scripts/series assemble

qemu: assemble ## build the patched QEMU
	@scripts/build patched

qemu-base: base ## build the unpatched one in the same way
	@scripts/build base

where: ## print the path of the patched qemu-system-x86_64
	@[ -x $(out)/out/qemu-system-x86_64 ] || $(MAKE) -s qemu SANITIZE= >&2
	@echo $(CURDIR)/$(out)/out/qemu-system-x86_64

where-base: ## print the path of the unpatched one
	@[ -x $(out)/base/out/qemu-system-x86_64 ] || $(MAKE) -s qemu-base SANITIZE= >&2
	@echo $(CURDIR)/$(out)/base/out/qemu-system-x86_64

# What tests compare with has no sanitizers
unpatched: base
	@$(MAKE) --no-print-directory qemu-base SANITIZE=

refresh: base ## bring commits in build/BASE/src back to hooks/ and qemu/
	@scripts/series refresh

series: base ## write the series as mails to build/series; SIGNOFF="Name <mail>"
	@scripts/series export build/series $(if $(SIGNOFF),"$(SIGNOFF)")

check: qemu unpatched ## run all tests; T=WORD runs those whose name has that word
	@scripts/deps test
	@tests/run $(T)

soak: qemu unpatched ## compare guests at random; SECONDS=60, SEED=N, COLLECT=1
	@scripts/deps test
	@QEMU=$(CURDIR)/$(out)/out/qemu-system-x86_64 PYTHONPATH=tests \
		QEMU_BASE=$(CURDIR)/$(out)/base/out/qemu-system-x86_64 \
		python3 -B -m differential --seconds $(SECONDS) \
		$(if $(SEED),--seed $(SEED)) $(if $(COLLECT),--collect)

check-series: build-deps base ## check the series' form; build and test each commit
	@scripts/deps test
	@scripts/check-series

check-builds: assemble ## compile it for other targets and without KVM or TCG
	@scripts/check-builds

check-distro: ## run demo and check in a bare Debian; SUITE=trixie
	@scripts/deps distro
	@scripts/check-distro "$(SUITE)"

check-clients: qemu unpatched ## run crash, drgn, libvirt... of SUITE="bookworm testing"
	@scripts/deps distro
	@QEMU=$(CURDIR)/$(out)/out/qemu-system-x86_64 \
		QEMU_BASE=$(CURDIR)/$(out)/base/out/qemu-system-x86_64 \
		scripts/check-clients $(SUITE)

check-qemu: qemu qemu-base ## compare QEMU's own tests on both, the unpatched first
	@scripts/check-qemu

check-kernel: ## run QEMU and the KVM series on a kernel of their own, emulated
	@scripts/deps kernel
	@tests/kernel/run $(T)

linux: ## get Debian's kernel source and put the KVM series on top
	@scripts/deps kernel
	@scripts/linux-source
	@scripts/linux-series assemble

linux-refresh: ## bring commits in build/linux/src back to linux/
	@scripts/linux-series refresh

linux-series: linux ## write the KVM series as mails for `git am` to build/linux/series
	@scripts/linux-series export build/linux/series

check-linux-series: linux ## apply its mails; compile each commit, with SNP and TDX
	@scripts/linux-build commits

kvm-modules: linux ## build the patched KVM modules for KERNEL=$$(uname -r)
	@scripts/deps modules
	@scripts/linux-build modules

bench: qemu qemu-base ## compare speed with the unpatched QEMU; T=WORD chooses
	@scripts/deps test
	@bench/run $(T)

release: base ## run all the long checks and print a table; it goes on where it ended
	@scripts/release

SECONDS ?= 60
fuzz: qemu ## fuzz what reads hostile input, each target for SECONDS=60
	@scripts/deps fuzz
	@scripts/fuzz $(SECONDS) $(T)

demo: qemu ## look into a real encrypted Linux guest, step by step
	@scripts/deps test
	@tests/demo

install: qemu ## install the patched QEMU; PREFIX=/usr/local
	@scripts/install "$(PREFIX)"

deb: assemble ## build Debian packages with the series, in build/BASE/deb
	@scripts/deps deb
	@scripts/debian-package

check-deb: ## have libvirt use the packages, in a bare Debian; SUITE=trixie
	@scripts/deps distro
	@scripts/check-distro "$(SUITE)" scripts/check-deb

clean: ## remove what was built, unless there is unsaved work in its src
	@scripts/series exported
	rm -rf $(out) build/series

distclean: clean ## remove the downloads of this project, too
	rm -rf build "$${XDG_CACHE_HOME:-$$HOME/.cache}/qemu-memory-debug"

build-deps:
	@scripts/deps build

.PHONY: help deps base assemble qemu qemu-base unpatched where where-base \
	refresh series check soak check-series check-builds check-distro \
	check-clients check-qemu bench fuzz release demo check-kernel linux \
	linux-refresh linux-series check-linux-series kvm-modules \
	install deb check-deb clean distclean build-deps
