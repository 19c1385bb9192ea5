# Two commands do everything on a fresh machine: `make demo` and `make test`.
.PHONY: all build build-pkcs11 static deps check test demo bench fuzz test-aktualizr test-libostree clean

BIN := bin
TOOLS := sealift garage-push garage-sign
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

all: build

# The server and the tools, static: they run on any Linux of this architecture.
build:
	@mkdir -p $(BIN)
	CGO_ENABLED=0 go build -ldflags '$(LDFLAGS)' -o $(BIN)/ $(addprefix ./tools/,$(TOOLS))
	@for n in garage-check garage-deploy; do ln -sf garage-push $(BIN)/$$n; done
	@ln -sf garage-sign $(BIN)/uptane-sign

deps:
	@bash .ci/deps

# What needs no test run: format, vet, the static binary.
check:
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt: $$out"; exit 1; fi
	go vet ./...
	go vet -tags aktualizr ./tools/interop
	CGO_ENABLED=1 go vet -tags pkcs11 ./internal/hsm ./keys ./tools ./tools/garage-sign
	go vet -tags awskms ./tools/garage-sign
	@go -C .ci/tools build -o ../../$(BIN)/staticcheck honnef.co/go/tools/cmd/staticcheck
	$(BIN)/staticcheck -checks inherit,-ST1005 ./...
	$(MAKE) --no-print-directory build
	@if readelf -l $(BIN)/sealift | grep -q INTERP; then echo "bin/sealift is not static"; exit 1; fi

# Everything: set-up, unit and store tests on both engines, race, layers, fuzz seeds, end-to-end scripts.
test: deps check
	@FUZZTIME=10s bash .ci/fuzz
	@bash .ci/gotest

# The same with keys in PKCS#11 tokens; the library of a token is C.
build-pkcs11:
	@mkdir -p $(BIN)/pkcs11
	CGO_ENABLED=1 go build -tags pkcs11 -ldflags '$(LDFLAGS)' -o $(BIN)/pkcs11/ $(addprefix ./tools/,$(TOOLS))

# The whole story on a throw-away server on loopback. KEEP=1 leaves it running;
# HSM=1 keeps the private keys in tokens in software (softhsm2).
demo: $(if $(HSM),build-pkcs11,build)
	$(BIN)/$(if $(HSM),pkcs11/)sealift demo $(if $(HSM),--hsm) $(if $(KEEP),--keep)

# Every online key is stolen, and the fleet goes on: on a throw-away server on loopback.
drill: build
	$(BIN)/sealift drill

bench: build
	@go run ./tools/bench

# One minute for each parser of outside bytes.
fuzz:
	@bash .ci/fuzz

# The real client is the judge: AKTUALIZR_BIN=<folder with aktualizr, garage-push, garage-check ...>
test-aktualizr: build
	@bash .ci/test-aktualizr

# Holds our reader against the C library through its Go binding; needs libostree-dev.
test-libostree:
	CGO_ENABLED=1 go test -tags libostree -count=1 -run TheCLibrary -v ./treehub/ostree

clean:
	rm -rf $(BIN) bench.json bench-profile
