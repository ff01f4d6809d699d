# SPDX-License-Identifier: MIT
#
# A thin front to Meson: `make` builds into $(BUILD), `make help` lists the rest.

BUILD    ?= build
PREFIX   ?= /usr/local
PROGRAMS ?= 1000000
SEED     ?= 1
SECONDS  ?= 600
OPTIONS  ?=

FORMATTED = $(wildcard include/quire/*.[ch] src/*.[ch] src/*/*.[ch] src/*/*/*.[ch] tests/*/*.[ch] fuzz/*.[ch] examples/*.[ch] bench/*.[ch] bench/*/*.[ch])
NINJA     = ninja -C $(BUILD)

all: configured
	@$(NINJA)

help:
	@echo 'make            build into $(BUILD)/'
	@echo 'make demo       the word index: two files bigger than the memory budget'
	@echo 'make check      every test; the last line counts them'
	@echo 'make bench      every benchmark, beside the kernel, SQLite and LMDB'
	@echo 'make scaling    what is to be expected of 64 cores and 10 TB, by simulation: docs/scaling.md'
	@echo 'make soak       the model test, the exerciser of files and the crash test for long: PROGRAMS=$(PROGRAMS) SEED=$(SEED)'
	@echo 'make fuzz       every call with wild arguments, for SECONDS=$(SECONDS) under each trap, damaged journals, messages to a server: SEED=$(SEED)'
	@echo 'make filesystems the conformance programs on XFS, btrfs, ext4 and tmpfs, each on an image (root)'
	@echo 'make asan       every test again under the address and undefined-behaviour sanitizers, in build-asan/'
	@echo 'make clang      every test again in a build by clang, in build-clang/'
	@echo 'make format     clang-format over the sources'
	@echo 'make compatibility  the tests in docs/compatibility.md, from their sources'
	@echo 'make install    DESTDIR= PREFIX=$(PREFIX)'
	@echo 'make clean      remove the build folders'
	@echo 'BUILD=DIR and OPTIONS="-Ddebug_level=2 ..." choose the folder and the meson options of its first configuration.'

setup:
	@scripts/setup

configured: setup
	@scripts/configure $(BUILD) $(OPTIONS)

demo: all
	@BUILD=$(BUILD) scripts/demo

check: all
	@scripts/check $(BUILD)

bench:
	@scripts/setup /usr/include/sqlite3.h:libsqlite3-dev /usr/include/lmdb.h:liblmdb-dev gnuplot:gnuplot-nox || true
	@$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) scripts/bench

scaling: configured
	@$(NINJA) bench/scaling/quire-scaling
	@mkdir -p $(BUILD)/scaling
	$(BUILD)/bench/scaling/quire-scaling --dir $(BUILD)/scaling | tee $(BUILD)/scaling/scaling.md
	@scripts/plot $(BUILD)/scaling

soak: all
	QUIRE_TRAP=signal $(BUILD)/tests/oracle/oracle --programs $(PROGRAMS) --seed $(SEED)
	QUIRE_TRAP=thread $(BUILD)/tests/oracle/oracle --programs $(PROGRAMS) --seed $(SEED)
	QUIRE_TRAP=signal $(BUILD)/tests/oracle/oracle --forks --programs $(PROGRAMS) --seed $(SEED)
	QUIRE_TRAP=thread $(BUILD)/tests/oracle/oracle --forks --programs $(PROGRAMS) --seed $(SEED)
	QUIRE_TRAP=signal $(BUILD)/tests/fsx/fsx --operations $(PROGRAMS)0 --seed $(SEED)
	QUIRE_TRAP=thread $(BUILD)/tests/fsx/fsx --operations $(PROGRAMS)0 --seed $(SEED)
	QUIRE_TRAP=signal $(BUILD)/tests/fsx/fsx --operations $(PROGRAMS)0 --seed $(SEED) --forks
	QUIRE_TRAP=thread $(BUILD)/tests/fsx/fsx --operations $(PROGRAMS)0 --seed $(SEED) --forks
	QUIRE_TRAP=signal $(BUILD)/tests/fsx/fsx --operations $(PROGRAMS)0 --seed $(SEED) --threads 4
	QUIRE_TRAP=thread $(BUILD)/tests/fsx/fsx --operations $(PROGRAMS)0 --seed $(SEED) --threads 4
	QUIRE_TRAP=signal $(BUILD)/tests/oracle/threads --seconds 1800 --seed $(SEED) --forks
	QUIRE_TRAP=thread $(BUILD)/tests/oracle/threads --seconds 1800 --seed $(SEED) --forks
	$(BUILD)/tests/crash/crash --seconds 1800 --seed $(SEED)
	$(BUILD)/tests/crash/crash --seconds 1800 --seed $(SEED) --steps 300 --images 40
	tests/server/served.sh $(BUILD)/src/cli/quire 4M $(BUILD)/tests/server/stress --seconds 600 --seed $(SEED)

fuzz: all
	QUIRE_TRAP=signal $(BUILD)/fuzz/calls --seconds $(SECONDS) --seed $(SEED)
	QUIRE_TRAP=thread $(BUILD)/fuzz/calls --seconds $(SECONDS) --seed $(SEED)
	$(BUILD)/fuzz/journals --seconds $(SECONDS) --seed $(SEED)
	$(BUILD)/fuzz/messages --seconds $(SECONDS) --seed $(SEED)

filesystems: all
	@scripts/setup mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs
	@BUILD=$(BUILD) scripts/filesystems

asan:
	@$(MAKE) --no-print-directory check BUILD=build-asan OPTIONS='-Db_sanitize=address,undefined -Ddebug_level=2'

clang:
	@CC=clang $(MAKE) --no-print-directory check BUILD=build-clang

format:
	@scripts/setup clang-format
	clang-format -i $(FORMATTED)

compatibility:
	@scripts/compatibility

install: configured
	@meson configure $(BUILD) -Dprefix=$(PREFIX)
	@$(NINJA)
	DESTDIR='$(if $(DESTDIR),$(abspath $(DESTDIR)))' meson install -C $(BUILD) --no-rebuild
	@[ -n '$(DESTDIR)' ] || [ "$$(id -u)" != 0 ] || PATH="$$PATH:/sbin" ldconfig

clean:
	rm -rf build build-asan build-clang

.PHONY: all help setup configured demo check bench scaling soak fuzz filesystems asan clang format compatibility install clean
