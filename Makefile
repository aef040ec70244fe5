# SPDX-License-Identifier: GPL-2.0-or-later
# Short names for what scripts/ and tests/ do. `make` lists them.

BASE ?= 10.2
export BASE
# 1 or thread: build, and test, with sanitizers (see tests/run)
SANITIZE ?=
export SANITIZE
PREFIX ?= /usr/local
out = build/$(BASE)

help:
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' Makefile | column -t -s '|'

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

refresh: base ## bring edits in build/BASE/src back to hooks/ and qemu/
	@scripts/series refresh

series: base ## write the series as mails for `git am` to build/series
	@scripts/series export build/series

check: qemu ## run all tests; T=WORD runs those whose name has that word
	@scripts/deps test
	@tests/run $(T)

check-series: build-deps base ## check the series' form; build and test each commit
	@scripts/deps test
	@scripts/check-series

check-builds: assemble ## compile it for other targets and without KVM or TCG
	@scripts/deps builds
	@scripts/check-builds

check-qemu: qemu qemu-base ## compare QEMU's own tests on both, the unpatched first
	@scripts/check-qemu

bench: qemu qemu-base ## compare speed with the unpatched QEMU; T=WORD chooses
	@scripts/deps test
	@bench/run $(T)

SECONDS ?= 60
fuzz: qemu ## fuzz what reads hostile input, each target for SECONDS=60
	@scripts/deps fuzz
	@scripts/fuzz $(SECONDS) $(T)

demo: qemu ## look into a real encrypted Linux guest, step by step
	@scripts/deps test
	@tests/demo

install: qemu ## install the patched QEMU; PREFIX=/usr/local
	@scripts/install "$(PREFIX)"

clean: ## remove what was built, unless there is unsaved work in its src
	@scripts/series exported
	rm -rf $(out) build/series

distclean: clean ## remove the downloads of this project, too
	rm -rf build "$${XDG_CACHE_HOME:-$$HOME/.cache}/qemu-memory-debug"

build-deps:
	@scripts/deps build

.PHONY: help deps base assemble qemu qemu-base where where-base refresh \
	series check check-series check-builds check-qemu bench fuzz demo \
	install clean distclean build-deps
