# make test      all tests, as root on Debian: installs what they need with apt
# make check     what CI runs: format, lint, build, all tests, nothing left to commit
GO ?= go
LINT = $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
FUZZTIME ?= 60s
# How long make soak lasts after its warm-up. make test takes SOAK=60s.
SOAK ?= 10m
# RSA goes through OpenSSL 3 where its headers are; else, and with TAGS=, through crypto/rsa.
TAGS ?= $(shell pkg-config --exists 'libcrypto >= 3' 2>/dev/null && echo libcrypto)

PREFIX ?= /usr/local

.PHONY: build install package test deps unit race integration system soak rotation-chaos check elsewhere lint fmt fuzz cover bench microbench clean

build: ## dkimd, and dkimd-exim-sign for Exim, in bin/
	$(GO) build -trimpath -tags "$(TAGS)" -ldflags "-X main.version=$(VERSION)" -o bin/dkimd ./cmd/dkimd
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o bin/dkimd-exim-sign ./cmd/dkimd-exim-sign

install: build ## below DESTDIR, in PREFIX; without DESTDIR also a user, a configuration and the service
	DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" BIN=bin GO="$(GO)" scripts/stage
	test -n "$(DESTDIR)" || $(PREFIX)/libexec/dkimd/setup --start

package: ## .deb, .rpm and tarballs, with checksums, in dist/
	rm -rf dist
	GO="$(GO)" scripts/package dist

test: deps unit integration system ## every test; installs what they need with apt
	$(MAKE) soak SOAK=60s

deps: ## Postfix, OpenDKIM, Chromium and the other programs the tests run against
	scripts/install-test-deps
	scripts/install-browser

unit: ## tests that need nothing but Go and a C compiler; the scripts start dkimd a thousand times: races are looked for where it runs things at once
	$(GO) test -race -shuffle=on -timeout 20m -skip '^TestScripts$$' ./...
	$(GO) test -shuffle=on -timeout 20m -run '^TestScripts$$' ./cmd/dkimd
	$(GO) test -race -timeout 20m -run '^TestScripts$$/^(probe|demo)' ./cmd/dkimd
	test -z "$(TAGS)" || $(GO) test -race -shuffle=on -tags "$(TAGS)" ./keys/... ./signer/... ./verifier/...

race: unit

integration: ## real Postfix, real verifiers
	$(GO) test -tags integration -shuffle=on -count=1 -timeout 20m ./integration/...

system: ## packages on booted Debian 12 and 13
	scripts/install-test-systems
	$(GO) test -tags system -count=1 -timeout 30m ./integration/system

soak: ## dkimd under load while everything around it goes wrong, for SOAK=10m; by itself, as others mind its load
	DKIMD_SOAK=$(SOAK) $(GO) test -tags integration -count=1 -timeout 2h -v -run '^TestSoak$$' ./integration/soak

rotation-chaos: ## keys rotate, and dkimd is killed at 50 random points, while mail flows and is verified
	DKIMD_ROTATION_KILLS=50 $(GO) test -tags integration -count=1 -timeout 30m -v -run '^TestLifeOfKeys$$' ./integration/

lint: ## golangci-lint, pinned here and not in go.mod
	$(LINT) run ./...

fmt: ## format all code
	$(LINT) fmt ./...

fuzz: ## each fuzz target for FUZZTIME; a search by chance, so it judges no commit: what it found stays in testdata, and make unit runs it
	scripts/fuzz $(FUZZTIME)

cover: ## test coverage, as a page in bin/cover.html
	mkdir -p bin
	$(GO) test -coverprofile=bin/cover.out ./...
	$(GO) tool cover -html=bin/cover.out -o bin/cover.html

bench: build ## dkimd beside its peers, as root; writes docs/performance.md. BENCHFLAGS=-short: some rows, nothing written
	scripts/install-bench-deps
	$(GO) build -trimpath -tags "$(TAGS)" -o bin/bench ./integration/bench
	bin/bench -write $(BENCHFLAGS)

microbench: ## benchmarks inside the packages
	$(GO) test -run '^$$' -bench . -benchmem ./...

elsewhere: ## dkimd and its tests compile for FreeBSD and OpenBSD
	for os in freebsd openbsd; do \
		CGO_ENABLED=0 GOOS=$$os $(GO) build -o /dev/null ./cmd/dkimd && \
		CGO_ENABLED=0 GOOS=$$os $(GO) vet $$($(GO) list ./... | grep -v ^dkimd/integration) || exit 1; \
	done

check: deps lint build elsewhere
	CGO_ENABLED=0 $(GO) build -trimpath -o /dev/null ./cmd/dkimd
	$(GO) vet -tags "integration system $(TAGS)" ./...
	$(GO) mod verify
	$(GO) mod tidy -diff
	DKIMD_REQUIRE_ALL=1 $(MAKE) test
	git diff --exit-code

clean:
	rm -rf bin dist
