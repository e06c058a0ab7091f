# SPDX-License-Identifier: MIT
#
# The front door. `make` builds, `make demo` shows the main job on a real model, `make test` proves the rest.

BUILD ?= build
MAKEFLAGS += --no-print-directory
JOBS ?= $(shell nproc)

all: $(BUILD)/CMakeCache.txt
	@cmake --build $(BUILD) -j $(JOBS)

$(BUILD)/CMakeCache.txt:
	@cmake -S . -B $(BUILD) -DCMAKE_BUILD_TYPE=Release >$(BUILD).log || \
	    { rm -f $(BUILD).log $@; exit 1; }
	@rm -f $(BUILD).log

demo: all
	@tools/demo.sh $(BUILD)

test: all
	@cmake --build $(BUILD) --target tests -j $(JOBS)
	@tools/test.sh $(BUILD)

bench: all
	@cmake --build $(BUILD) --target bench -j $(JOBS)

check: all
	@tools/check.sh $(BUILD)

clean:
	rm -rf $(BUILD) build-asan

help:
	@echo 'make        build/sparsetrace, build/libggml-sparsetrace.so and the libraries'
	@echo 'make demo   trace a real model on a prompt of several thousand tokens'
	@echo 'make test   all tests'
	@echo 'make bench  the measuring programs, build/bench_*'
	@echo 'make check  the static checks alone'

.PHONY: all demo test bench check clean help
