# ingot: one file builds everything. `make help` lists the targets; local choices go into config.mk.
#
#   CUDA=auto|0|1   CUDA_ARCH="90a 100a"|all   SAN=address,undefined   WERROR=1   V=1   O=-O2

-include config.mk

O       ?= -O2
SAN     ?=
V       ?= 0
WERROR  ?= 0

FUZZING ?=
CONFIG  := $(if $(FUZZING),fuzz,$(if $(SAN),san,$(if $(filter 1,$(WERROR)),strict,release)))
B       := build/$(CONFIG)
BIN     := $(if $(filter release,$(CONFIG)),build/ingot,$(B)/ingot)

# CUDA: a toolkit in PATH or /usr/local/cuda, or the compiler that `make cuda-deps` fetches into .cuda/; it needs a C++ compiler
# beside it. Without one, backends/cuda/none.c stands for the folder. The runtime is linked statically, so the program starts
# without a driver. Compiling for all chips takes 40 s of one core (measured); code for one that is not listed comes from
# the PTX of the oldest and of the newest.
CUDA      ?= auto
NVCC      ?= $(firstword $(wildcard $(shell command -v nvcc 2>/dev/null) /usr/local/cuda/bin/nvcc .cuda/lib/python3*/site-packages/nvidia/cu1[0-9]/bin/nvcc))
NVCC      := $(NVCC)
CUDA_ROOT := $(firstword $(foreach n,$(NVCC) $(realpath $(NVCC)),$(patsubst %/include/cuda_runtime_api.h,%,$(wildcard $(n:/bin/nvcc=)/include/cuda_runtime_api.h))))
CUDA_LIB  := $(firstword $(wildcard $(addsuffix /libcudart_static.a,$(addprefix $(CUDA_ROOT)/,lib64 lib targets/*/lib lib/*))))
CUDA_HAVE := $(if $(and $(CUDA_ROOT),$(CUDA_LIB),$(shell command -v $(CXX) 2>/dev/null)),1)
CUDA_ON   := $(if $(filter 0,$(CUDA)),,$(if $(FUZZING),,$(CUDA_HAVE)))
ifeq ($(CUDA)$(CUDA_HAVE),1)
$(error CUDA=1, but there is no nvcc with libcudart_static.a and a C++ compiler (make cuda-deps fetches the first two))
endif
CUDA_ALL  := 80 86 89 90a 100a 103a 110a 120a 121a
CUDA_ARCH ?= all
CUDA_SRC  := $(if $(CUDA_ON),backends/cuda/backend_cuda.c backends/cuda/lane_cuda.c,backends/cuda/none.c)
CUDA_OBJ  := $(if $(CUDA_ON),build/cuda/kernels.o)
CUDA_LIBS := $(if $(CUDA_ON),$(CUDA_LIB) -ldl -lrt)
CUDA_BARE  = $(patsubst %a,%,$(1))
# An older toolkit does not know the newest chips: of `all`, what it knows.
CUDA_CHIPS = $(eval CUDA_CHIPS := $(if $(filter all,$(CUDA_ARCH)),$(filter $(patsubst sm_%,%,$(shell $(NVCC) --list-gpu-code)) $(patsubst sm_%,%a,$(shell $(NVCC) --list-gpu-code)),$(CUDA_ALL)),$(CUDA_ARCH)))$(CUDA_CHIPS)
CUDA_SM    = -DGPU_SM_MIN=$(call CUDA_BARE,$(firstword $(CUDA_CHIPS))) -DGPU_SM_WORDS='"$(CUDA_CHIPS)"'
CUDA_GEN   = $(foreach a,$(CUDA_CHIPS),-gencode arch=compute_$(a),code=sm_$(a)) \
             $(foreach a,$(sort $(call CUDA_BARE,$(firstword $(CUDA_CHIPS)) $(lastword $(CUDA_CHIPS)))),-gencode arch=compute_$(a),code=compute_$(a))
# Quantized bytes depend on these (docs/numerics.md, "Ground rules"); tests/numeric/check_cuda_host.sh reads what they make.
CUDA_EXACT := -std=c++17 -fmad=false -prec-div=true -prec-sqrt=true -ftz=false

# Files of one instruction set are left out where the compiler makes code for another machine.
MACHINE  := $(shell $(CC) -dumpmachine 2>/dev/null)
FOREIGN  := $(if $(findstring x86_64,$(MACHINE)),%_neon.c,%_avx2.c %_avx512.c %_avx512bf16.c %_shani.c) $(if $(findstring aarch64,$(MACHINE)),,%_neon.c)
SRC_DIRS := core formats models plan backends backends/cpu engine engine/chat convert calibrate quantize pack verify
LIB_SRC  := $(filter-out $(FOREIGN),$(sort $(wildcard $(addsuffix /*.c,$(SRC_DIRS))))) $(CUDA_SRC)
CLI_SRC  := $(sort $(wildcard cli/*.c))
DATA     := $(sort $(wildcard recipes/*.yaml recipes/units/*.yaml profiles/*.yaml verify/*.yaml))
LIB_OBJ  := $(LIB_SRC:%.c=$(B)/%.o) $(B)/embedded.o $(CUDA_OBJ)
CLI_OBJ  := $(filter-out $(B)/cli/main.o,$(CLI_SRC:%.c=$(B)/%.o))
UNIT     := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(sort $(wildcard tests/unit/test_*.c)))
KERNELS  := $(patsubst tests/kernels/%.c,$(B)/tests/kernels/%,$(sort $(wildcard tests/kernels/test_*.c)))
CUDATEST := $(patsubst tests/cuda/%.c,$(B)/tests/cuda/%,$(sort $(wildcard tests/cuda/test_*.c)))
FUZZ     := $(patsubst tests/fuzz/%.c,$(B)/tests/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
TOOLS    := $(patsubst tests/tools/%.c,$(B)/tests/tools/%,$(sort $(wildcard tests/tools/*.c)))
FAULT    := $(B)/tests/preload/fault.so
BENCH    := $(patsubst bench/%.c,$(B)/bench/%,$(sort $(wildcard bench/*.c)))

PACKAGES := jansson yaml-0.1 libcrypto libpcre2-8 libutf8proc libarchive
# Only their headers: PKCS#11 modules, and libcurl when a registry is spoken to, are opened while the program runs.
HEADERS  := p11-kit-1 libcurl
APT      := gcc make pkg-config libjansson-dev libyaml-dev libssl-dev libpcre2-dev libutf8proc-dev libarchive-dev libcurl4-openssl-dev zlib1g-dev libcmocka-dev libp11-kit-dev python3

# Evaluated once, at first use, so that `make deps` may install the packages first.
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell pkg-config --cflags $(PACKAGES) $(HEADERS)))$(PKG_CFLAGS)
PKG_LIBS   = $(eval PKG_LIBS := $(shell pkg-config --libs $(PACKAGES)))$(PKG_LIBS)

WARN := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
        -Wformat=2 -Wvla -Wundef -Wdouble-promotion -Wimplicit-fallthrough
WARN += $(if $(filter 1,$(WERROR)),-Werror)
HARD := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer,-D_FORTIFY_SOURCE=3) -fstack-protector-strong -fPIE
# -ffp-contract=off: the compiler must not fuse a*b+c behind our back; where a fused operation is meant, the code says fmaf.
CFLAGS_ALL = -std=c11 -D_GNU_SOURCE -g $(O) $(HARD) -ffp-contract=off -pthread -I. $(WARN) $(PKG_CFLAGS) $(CFLAGS)
# For libFuzzer (clang): the library is instrumented, the entries get its main instead of replaying their corpus.
CFLAGS_ALL += $(if $(FUZZING),-DFUZZING -fsanitize=fuzzer-no-link)
LDFLAGS_ALL = -pie -Wl,-z,relro,-z,now -pthread $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)
LIBS = $(PKG_LIBS) $(CUDA_LIBS) -lm

# Instruction sets by file suffix. The same source text must give the same bits at every level (docs/numerics.md).
ISA_avx2   := -mavx2 -mfma -mf16c
ISA_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c
ISA_avx512bf16 := $(ISA_avx512) -mavx512bf16 -mavx512vbmi
ISA_shani  := -msha -msse4.1
isa_flags   = $(foreach s,avx2 avx512 avx512bf16 shani,$(if $(filter %_$(s),$*),$(ISA_$(s))))

comma := ,
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),,@printf '  %-4s %s\n' $(1) $@)

.PHONY: all demo test test-programs check check-asan check-strict check-interop check-quant-clients check-numeric check-parity \
        check-families check-memory check-faults check-neon neon-run check-cuda check-cuda-host bench-cuda cuda-kit cuda-deps lint fuzz \
        fuzz-run bench bench-quantize bench-convert bench-gguf bench-pack bench-push bench-verify bench-quality deps help clean install
.DEFAULT_GOAL := all

all: $(BIN)  ## the program, build/ingot

# original/ is a copy, so that the folder has all that an auditor needs.
demo: $(BIN)  ## builds, then makes a signed and verified package of examples/nano-hybrid in build/demo (1 min)
	@$(BIN) build examples/nano-hybrid -o build/demo
	@[ -d build/demo/original ] || { rm -rf build/demo/.original && cp -r examples/nano-hybrid/model build/demo/.original && mv build/demo/.original build/demo/original; }

PREFIX ?= /usr/local
install: $(BIN)  ## the program and its manual below PREFIX (DESTDIR counts)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/ingot
	install -m 644 docs/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 docs/man/*.5 $(DESTDIR)$(PREFIX)/share/man/man5

$(BIN): $(B)/cli/main.o $(CLI_OBJ) $(B)/libingot.a
	$(call say,LD)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(B)/libingot.a: $(LIB_OBJ)
	$(call say,AR)
	$(Q)rm -f $@ && ar rcsD $@ $(filter %.o,$^)

$(B)/%.o: %.c | build/.deps
	$(call say,CC)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(isa_flags) -MMD -MP -c -o $@ $<

# Rewritten when the choice of compiler and chips changes, so that a build of the other choice is not left in place.
CUDA_CHOICE := $(B)/cuda.choice
$(CUDA_CHOICE) build/cuda/chips: FORCE
	@mkdir -p $(@D)
	@echo '$(if $(CUDA_ON),$(NVCC) $(CUDA_CHIPS),none)' | cmp -s - $@ || echo '$(if $(CUDA_ON),$(NVCC) $(CUDA_CHIPS),none)' > $@
.PHONY: FORCE

$(B)/libingot.a: $(CUDA_CHOICE)
$(B)/backends/cuda/backend_cuda.o: CFLAGS_ALL += $(CUDA_SM)
$(B)/backends/cuda/backend_cuda.o $(B)/backends/cuda/lane_cuda.o: CFLAGS_ALL += -isystem $(CUDA_ROOT)/include
$(B)/backends/cuda/backend_cuda.o: $(CUDA_CHOICE)

# One for all configurations: sanitizers and warnings of the host compiler do not reach kernels. (check-cuda-host compiles them
# with warnings as errors; somebody else's toolkit may warn of something new.)
build/cuda/kernels.o: backends/cuda/kernels.cu build/cuda/chips
	$(call say,NVCC)
	$(Q)$(NVCC) $(CUDA_EXACT) $(CUDA_GEN) --threads 2 -ccbin $(CXX) -I. -O3 \
	  -Xcompiler -fPIE,-fstack-protector-strong,-ffp-contract=off,-fno-threadsafe-statics -MMD -MP -MF $(@:.o=.d) -c -o $@ $<

# Recipes and profile tables travel inside the program: an auditor has one file.
$(B)/embedded.c: core/embed.sh $(DATA)
	@mkdir -p $(@D)
	$(Q)sh core/embed.sh $(DATA) > $@.tmp && mv $@.tmp $@

$(B)/embedded.o: $(B)/embedded.c
	$(Q)$(CC) $(CFLAGS_ALL) -c -o $@ $<

build/.deps: Makefile
	@mkdir -p build
	@$(MAKE) --no-print-directory -s deps && touch $@

deps:  ## installs the packages that are missing (root), or says which command does
	@command -v pkg-config >/dev/null && pkg-config --exists $(PACKAGES) $(HEADERS) cmocka && command -v python3 >/dev/null && exit 0; \
	 if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	   echo '  installing: $(APT)'; \
	   apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(APT) >/dev/null; \
	 else echo 'packages are missing; run: sudo apt-get install $(APT)'; exit 1; fi

# ---- tests -------------------------------------------------------------------------------------------------------
$(B)/tests/%: $(B)/tests/%.o $(CLI_OBJ) $(B)/libingot.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) $$(pkg-config --libs cmocka)

# backends/cuda/ on a runtime of plain memory, and its kernels as loops (tests/cuda/emulate.h).
FAKE := $(patsubst %.c,$(B)/fake/%.o,backends/cuda/backend_cuda.c backends/cuda/lane_cuda.c tests/cuda/emulate.c tests/cuda/fake_runtime.c)
$(B)/fake/%.o: %.c | build/.deps
	$(call say,CC)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -Itests/cuda/fake -DFAKE_CUDA -MMD -MP -c -o $@ $<

$(B)/tests/cuda/%: $(B)/fake/tests/cuda/%.o $(FAKE) $(B)/libingot.a
	$(call say,LD)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) $$(pkg-config --libs cmocka)

# The whole program on that runtime, for tests/cli/cuda.py.
FAKE_INGOT := $(B)/tests/cuda/fake_ingot
$(FAKE_INGOT): $(B)/fake/tests/cuda/fake_ingot.o $(FAKE) $(B)/cli/main.o $(CLI_OBJ) $(B)/libingot.a
	$(call say,LD)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

# The same tests and the benchmark on a GPU.
build/cuda/%.o: %.c | build/.deps
	$(call say,CC)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -isystem $(CUDA_ROOT)/include -MMD -MP -c -o $@ $<

build/cuda/%: build/cuda/%.o $(B)/libingot.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) $$(pkg-config --libs cmocka)

$(B)/tests/fuzz/%: LDFLAGS_ALL += $(if $(FUZZING),-fsanitize=fuzzer)

$(B)/bench/%: $(B)/bench/%.o $(B)/libingot.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

.SECONDARY:

# Loaded into the program by tests/cli/faults.sh.
$(FAULT): tests/preload/fault.c
	$(call say,LD)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -g -O1 -shared -fPIC $(WARN) -o $@ $< -ldl

test-programs: $(BIN) $(UNIT) $(KERNELS) $(CUDATEST) $(FAKE_INGOT) $(FUZZ) $(TOOLS) $(BENCH) $(FAULT)

test: test-programs  ## the whole suite (budget 11 minutes on 2 cores)
	@sh tests/run.sh $(BIN) $(B)

check-quant-clients: $(BIN) $(TOOLS)  ## vLLM and compressed-tensors on our quantized folders; installs them (some GB, 20 min)
	@sh tests/interop/quant_tools.sh
	@QUANT_REQUIRED=1 sh tests/run.sh $(BIN) $(B) interop/check_quant

check-interop: $(BIN) $(TOOLS)  ## the checks by other programs, which are installed where they are missing
	@sh tests/interop/tools.sh
	@INTEROP_REQUIRED=1 sh tests/run.sh $(BIN) $(B) interop/

# What takes minutes is apart from the suite, each with its budget on 2 cores. `make check` runs all that need no other
# program; tests/numeric/ also holds what compares numeric/ with CUDA's own headers.
check: test check-strict check-asan check-numeric check-parity check-faults check-cuda-host  ## everything but check-memory and check-interop (12 min)

check-strict:  ## every source compiled with warnings as errors (2 min)
	@$(MAKE) --no-print-directory WERROR=1 all test-programs

# What runs the same code over and over for its figures or its pages is left out (ASAN_SKIP= runs it too).
ASAN_SKIP ?= lint cuda/test_cuda_kernels golden/fullsize golden/builtin golden/algorithms golden/parity golden/amax golden/modelopt golden/folding cli/manual cli/memory cli/layouts cli/solve_int4 cli/search cli/faults
check-asan:  ## most of the suite under AddressSanitizer and UBSan (12 min)
	@SKIP="$(ASAN_SKIP)" $(MAKE) --no-print-directory SAN=address,undefined test

check-numeric: $(B)/tests/numeric/sweep_patterns $(B)/tests/numeric/reciprocal  ## 10^8 patterns through every encoder, against a second implementation (1 min)
	@$(B)/tests/numeric/reciprocal && $<

check-parity: $(BIN)  ## every recorded recipe against an independent program's parity figures (4 min; needs shared/ for half of it)
	@PARITY_ALL=1 sh tests/run.sh $(BIN) $(B) golden/parity && PARITY_ALL=1 sh tests/run.sh $(BIN) $(B) golden/algorithms

check-families: $(BIN)  ## random small models of every family against transformers (2 min; PYTHON with torch, FAMILIES_ARGS)
	@INGOT=$(BIN) $(PYTHON) tests/tools/families.py $(FAMILIES_ARGS)

check-faults: $(BIN) $(FAULT)  ## every single change to the file system killed and failed, instead of a choice (2 min)
	@FAULT_STEPS=100000 sh tests/run.sh $(BIN) $(B) cli/faults

# Needs 14 GiB of disk below build/.
check-memory: $(BIN) $(BENCH)  ## forecasts of memory, then peaks, equal bytes and killed runs on a 4 GiB checkpoint (8 min)
	@MEMORY_ALL=1 sh tests/run.sh $(BIN) $(B) cli/memory
	@python3 tests/memory/check_memory.py $(BIN) $(B)/bench/make_checkpoint build/check-memory

# NVIDIA's compiler and headers, from its own wheels, into .cuda/: for checks on machines without a GPU or a toolkit.
CUDA_WHEELS := nvidia-cuda-nvcc==13.5.37 nvidia-cuda-crt==13.5.37 nvidia-nvvm==13.5.37 nvidia-cuda-cccl==13.3.5.0.6 \
               nvidia-cuda-runtime==13.5.37
cuda-deps: .cuda/.done  ## installs a CUDA compiler for check-cuda-host into .cuda/ (370 MB)

.cuda/.done: Makefile
	@echo '  installing: $(CUDA_WHEELS)'
	@rm -rf .cuda && python3 -m venv .cuda && .cuda/bin/pip install -q --disable-pip-version-check $(CUDA_WHEELS) && touch $@

# On a machine with a GPU; elsewhere they say what they skip.
CUDA_PROGRAMS := tests/cuda/test_cuda_kernels tests/cuda/test_cuda_backend bench/cuda/bench_cuda device_convert
CUDA_CHECKS := $(if $(CUDA_ON),$(addprefix build/cuda/,$(CUDA_PROGRAMS)) $(B)/bench/make_checkpoint) build/cuda/chips
check-cuda: $(BIN) $(CUDA_CHECKS)  ## every CUDA kernel and whole checkpoints against the CPU, on a GPU (10 min)
	@CUDA_ROOT='$(CUDA_ROOT)' sh tests/cuda/check_cuda.sh $(BIN) build/cuda

bench-cuda: $(BIN) $(CUDA_CHECKS)  ## speed of the CUDA kernels, and quantize end to end
	@sh tests/cuda/check_cuda.sh $(BIN) build/cuda speed quantize

# All of that for a machine with a driver, a shell and nothing else: third-party libraries are inside the programs, cmocka
# lies beside them. Static libraries: those of Debian's -dev packages.
KIT := build/cuda-kit
KIT_FILES := $(addprefix $(KIT)/,ingot chips bench/make_checkpoint $(CUDA_PROGRAMS))
KIT_LIBS = -Wl,--gc-sections -Wl,--as-needed -Wl,--start-group -Wl,-Bstatic $(PKG_LIBS) -lz -Wl,-Bdynamic -Wl,--end-group $(CUDA_LIBS) -lm
cuda-kit: $(KIT_FILES)  ## check-cuda and bench-cuda as programs to carry to a bare machine (docs/cuda.md), in build/cuda-kit
	@cp -L $$(ldconfig -p | sed -n 's/.*libcmocka\.so\.0.* => //p' | head -n 1) $(KIT)/ && du -sh $(KIT)

kit_link = $(Q)mkdir -p $(@D) && $(CC) $(LDFLAGS_ALL) -s -o $@ $(filter %.o %.a,$^) $(KIT_LIBS) $(1)
$(KIT)/ingot: $(B)/cli/main.o $(CLI_OBJ) $(B)/libingot.a
	$(call say,LD)
	$(call kit_link)
$(KIT)/bench/make_checkpoint: $(B)/bench/make_checkpoint.o $(B)/libingot.a
	$(call say,LD)
	$(call kit_link)
$(KIT)/%: build/cuda/%.o $(B)/libingot.a
	$(call say,LD)
	$(call kit_link,$(if $(findstring test_cuda_backend,$@),-lcmocka '-Wl$(comma)-rpath$(comma)$$ORIGIN/../..'))
$(KIT)/device_convert $(KIT)/chips: $(KIT)/%: build/cuda/%
	@mkdir -p $(@D) && cp $< $@

build/cuda/device_convert: tests/cuda/device_convert.cu build/cuda/chips
	$(call say,NVCC)
	$(Q)$(NVCC) $(CUDA_EXACT) $(CUDA_GEN) --threads 2 -ccbin $(CXX) -I. -O2 -MMD -MP -MF $@.d -Xcompiler -ffp-contract=off,-static-libstdc++,-static-libgcc -L$(dir $(CUDA_LIB)) -o $@ $<

# For 64-bit ARM: every source is compiled, and what needs no library is linked and run under qemu. Headers of libraries
# are this machine's, which say the same; tests/arm64/cmocka.h stands for cmocka.
ARM_CC    ?= aarch64-linux-gnu-gcc
ARM_RUN   ?= qemu-aarch64 -L /usr/aarch64-linux-gnu
ARM_APT   := gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
ARM_TESTS := $(addprefix tests/kernels/,test_kernels test_layout test_math test_math_scan test_gemm) \
             $(patsubst %.c,%,$(shell grep -L core/json.h tests/unit/test_numeric_*.c))
check-neon:  ## the NEON kernels against the scalar ones and numeric/'s tests on emulated 64-bit ARM (4 min)
	@command -v $(ARM_CC) >/dev/null && command -v $(firstword $(ARM_RUN)) >/dev/null || \
	 { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(ARM_APT) >/dev/null; } || \
	 { echo 'skip check-neon: it needs $(ARM_APT)'; exit 0; }; \
	 $(MAKE) --no-print-directory CONFIG=arm64 CC=$(ARM_CC) CUDA=0 WERROR=1 PKG_CFLAGS= PKG_LIBS= \
	   CFLAGS='-Itests/arm64 -idirafter /usr/include -idirafter /usr/include/p11-kit-1 -idirafter /usr/include/$(MACHINE:%-pc-linux-gnu=%-linux-gnu)' neon-run

neon-run: $(LIB_OBJ) $(CLI_OBJ) $(addprefix $(B)/arm64/,$(ARM_TESTS))
	@echo "ok every source compiles for 64-bit ARM"
	@for t in $(ARM_TESTS); do echo "$$t"; CMOCKA_MESSAGE_OUTPUT=TAP $(ARM_RUN) $(B)/arm64/$$t >$(B)/log 2>&1 || failed=1; cat $(B)/log; done; [ -z "$$failed" ]

$(B)/arm64/%: $(B)/%.o $(filter $(B)/backends/cpu/% $(B)/core/error.o $(B)/core/dtype.o,$(LIB_OBJ))
	$(call say,LD)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(filter-out $(B)/backends/cpu/backend_cpu.o,$^) -lm

check-cuda-host:  ## numeric/ as CUDA code, and against CUDA's own conversions (needs make cuda-deps)
	@sh tests/numeric/check_cuda_host.sh $(B)/cuda-host

# FUZZ_ONLY=fuzz_tar picks one. New finds go to build/fuzz/found/, crashes to the folder you stand in.
FUZZ_RUNS ?= 100000
fuzz:  ## every fuzz entry under clang's libFuzzer, FUZZ_RUNS inputs each
	@$(MAKE) --no-print-directory FUZZING=1 CC=clang SAN=address,undefined O=-O1 WARN=-Wall fuzz-run

fuzz-run: $(FUZZ)
	@for p in $(notdir $(filter %$(FUZZ_ONLY),$(FUZZ))); do \
	   mkdir -p $(B)/found/$$p && echo "  FUZZ $$p" && \
	   $(B)/tests/fuzz/$$p -runs=$(FUZZ_RUNS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 -dict=tests/fuzz/words.dict \
	     $(B)/found/$$p tests/fuzz/corpus/$${p#fuzz_} || exit 1; done

bench: $(BENCH)  ## how fast the kernels are here, beside memcpy and the machine's peak (1 min; docs/performance.md)
	@for b in $(filter-out %/make_checkpoint,$(BENCH)); do echo "$$(basename $$b)"; $$b; done

bench-quality: $(BIN)  ## KL, top-1 and perplexity of every algorithm on the nano models (docs/algorithms.md; 20 min)
	@python3 bench/quality.py --cache $(B)/quality.json

# MODELOPT and LLMCOMPRESSOR: Pythons that have them; without, only ours is measured. Needs 4 GB of disk below build/.
bench-quantize: $(BIN)  ## quantize beside its peers and the machine's limit, in one run (1 min; with peers 5)
	@python3 bench/quantize_peers.py $(BIN) build/quantize-bench $(if $(MODELOPT),--modelopt $(MODELOPT)) $(if $(LLMCOMPRESSOR),--llmcompressor $(LLMCOMPRESSOR)) $(BENCH_ARGS)

bench-gguf: $(BIN) $(B)/bench/make_checkpoint  ## GGUF beside llama.cpp's own quantizer, in one run: GGUF_PYTHON=... has llama-cpp-python (2 min, 4 GB below build/)
	@python3 bench/gguf_peers.py $(BIN) build/gguf-bench --make $(B)/bench/make_checkpoint --python $(or $(GGUF_PYTHON),.tools/gguf/bin/python) $(BENCH_ARGS)

bench-convert: $(BIN) $(B)/bench/make_checkpoint  ## convert of bf16 to bf16 beside cp and sync, in one run (5 min, 10 GB below build/)
	@python3 bench/convert_copy.py $(BIN) $(B)/bench/make_checkpoint build/convert-bench $(BENCH_ARGS)

bench-pack: $(BIN)  ## pack beside file copy, OpenSSL's SHA-256 and podman build, in one run (5 min, 24 GB below build/)
	@python3 bench/pack_peers.py $(BIN) build/pack-bench $(BENCH_ARGS)

bench-push: $(BIN)  ## push and pull beside skopeo, to docker-registry on the loopback, in one run (1 min, 4 GB below build/)
	@python3 bench/push_peers.py $(BIN) build/push-bench $(BENCH_ARGS)

bench-verify: $(BIN)  ## verify with 1 and 2 threads beside sha256sum of the same blobs, in one run (1 min, 4 GB below build/)
	@python3 bench/verify_peers.py $(BIN) build/verify-bench $(BENCH_ARGS)

lint:  ## include rules, headers alone, file shapes
	@sh tests/lint/lint.sh

help:  ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

clean:  ## removes build/
	rm -rf build

-include $(shell find build -name '*.d' 2>/dev/null)
