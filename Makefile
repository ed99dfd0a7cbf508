# The tests need no make: testenv/test.sh runs them all.

CASES ?= 2500
PREFIX ?= /usr/local
COUNT ?= 5
BENCH ?= .
PART ?= full
BUDGET ?= 30m
GOLANGCI_LINT = v2.15.0
ACTIONLINT = v1.7.7

.DEFAULT_GOAL := help
.PHONY: help build install test test-vm arch test-arch test-browser test-integration test-integration-containerd kernels-doc random torture bench bench-full bench-report bench-compare bench-test lint lint-workflows apidiff dist dist-check dist-reproducible install-check tidy real-image clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-27s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

build: ## build the command, ./overlaydiff
	go build -trimpath -o overlaydiff ./cmd/overlaydiff

install: build ## install command, man pages and shell completions below PREFIX=/usr/local
	install -D -m 755 overlaydiff $(DESTDIR)$(PREFIX)/bin/overlaydiff
	./overlaydiff man --to $(DESTDIR)$(PREFIX)/share

test: ## run every check and test; as root, all of them
	testenv/test.sh

test-integration-containerd: ## test the containerd plugins, in a containerd 2 and Debian's; minutes; root
	integration/containerd/test.sh
	integration/containerd.sh

test-vm: ## run the tests on KERNELS="5.10 6.1 …" in virtual machines, of ARCH=arm64 (KERNELS=latest-16k: larger pages); RUN=regexp, SLICE=1 for a part
	testenv/install.sh vm$(ARCH:%=-%)
	go build -o dist/matrix ./testenv/vm/matrix
	dist/matrix $(if $(ARCH),-arch $(ARCH)) $(if $(KERNELS),-kernels '$(KERNELS)') $(if $(RUN),-run '$(value RUN)') $(if $(SLICE),-slice)

arch: ## build and vet for every architecture, or for ARCH="386 s390x"; compiles for minutes
	testenv/arch.sh $(ARCH)

test-arch: ## run tests of parsers and layers for arm64, riscv64, ppc64le and s390x, or ARCH, under qemu-user; root
	testenv/arch-test.sh $(ARCH)

test-browser: ## test the pages of report in Chromium; ON=large also on a large overlay, with pictures for docs; root
	integration/browser.sh $(ON)

test-integration: ## test the graph drivers of integration/; ON="5.10 latest" on these kernels, in virtual machines; root
	integration/test.sh $(if $(ON),-kernels '$(ON)')

kernels-doc: ## write docs/kernels.md of what test-vm found
	go run ./testenv/vm/matrix -document docs/kernels.md

random: ## compare engines and reference on CASES=2500 random overlays a file system; RUN=TestLayers_Random their layers, RUN=TestRaw layers by hand
	OVERLAYDIFF_CASES=$(CASES) go test -count 1 -timeout 2h -v -run '^$(or $(value RUN),TestRandom)$$' .

torture: ## torture tests, fuzzing and static checks for BUDGET=30m, and docs/reliability.md; RUN=regexp, FUZZ_TIME=1h for a part; root
	testenv/install.sh
	go run ./cmd/overlaydiff/internal/torture/campaign -budget $(BUDGET) -run '$(value RUN)' $(if $(FUZZ_TIME),-fuzztime $(FUZZ_TIME)) -document docs/reliability.md

# Both measure beside the peers, whose code is fetched first.
bench: ## measure beside the peers, on generated trees: minutes; root
	cd bench/peers && GOWORK=off go test -timeout 1h -run '^$$' -bench . -benchtime 300ms .

bench-full: ## all scenarios, COUNT=5 times, and docs/benchmarks.md of them: hours; BENCH=regexp PART=name for a part; root
	bench/real-image.sh large
	mkdir -p bench/out
	cd bench/peers && GOWORK=off OVERLAYDIFF_BENCH=full go test -timeout 24h -run '^$$' -bench '$(value BENCH)' -benchtime 300ms -count $(COUNT) . >../out/$(PART).txt \
	  || { tail -n 20 ../out/$(PART).txt; exit 1; }
	$(MAKE) bench-report

bench-report: ## write docs/benchmarks.md and bench/out/benchmarks.html of what bench-full measured, of all parts
	cd bench/report && GOWORK=off go run . -o ../../docs -page ../out/benchmarks.html ../out/*.txt

bench-compare: ## how fast the work tree is beside BASE=rev, as ratios; root
	bench/compare.sh "$(BASE)"

bench-test: ## test the benchmarks' own modules; root
	bench/peers/test.sh

tidy: ## tidy go.mod and go.sum of the library and of the command
	release/tidy.sh

install-check: ## install the command and import the library as strangers do, as if the last commit had a tag
	release/install-check.sh

# Both are compiled at their first use, golangci-lint for minutes.
lint: ## run golangci-lint
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT) run ./... ./cmd/overlaydiff/...
	cd release && GOWORK=off go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT) run

lint-workflows: ## check the workflows for GitHub
	go run github.com/rhysd/actionlint/cmd/actionlint@$(ACTIONLINT)

apidiff: ## compare the library's API with that of BASE=tag; docs/api-stability.md
	release/apidiff.sh "$(BASE)"

dist: ## build a release of HEAD in dist/release: archives, .deb, .rpm, image, checksums; ARCH="amd64 arm64" for a part
	release/dist.sh $(ARCH)

dist-check: ## install and run what dist built, other architectures under qemu-user; root
	cd release && GOWORK=off go test .
	release/check.sh

dist-reproducible: ## build a release twice, and compare the bytes; ARCH="amd64" for a part
	release/reproducible.sh $(ARCH)

real-image: ## check and measure on a Debian system; root, debootstrap, network at first
	bench/real-image.sh

clean: ## remove what make built; caches of real-image stay
	rm -rf overlaydiff dist bench/out
	find . -name '*.test' -o -name '*.prof' | xargs -r rm -f
