# `make help` lists what there is. Needs GNU make, bash and a Node.js with npm; scripts/setup.sh sees to the rest.
PREFIX ?= /usr/local
UNITDIR ?= /etc/systemd/system
node := scripts/node.sh
sources := $(shell find src -name '*.ts' 2>/dev/null)

.DEFAULT_GOAL := build
.PHONY: FORCE help setup build native demo test chaos chaos-bugs flood fuzz valgrind soak start lint types bench bench-events compare openapi client install install-unit uninstall clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing to build, run and test
	@scripts/setup.sh test

build: node_modules/.package-lock.json native build/dist.stamp ## build all: the addon, the shim and dist/

# Looks each time, which takes a tenth of a second; touches the file only when it installed something.
node_modules/.package-lock.json: FORCE
	@scripts/setup.sh build

FORCE:

native: node_modules/.package-lock.json
	@$(MAKE) --no-print-directory --quiet -C src/native

# A stamp, since esbuild takes half a second even when nothing has changed.
build/dist.stamp: $(sources) scripts/compile.ts package.json node_modules/.package-lock.json
	@scripts/compile.sh
	@touch $@

demo: ## see it work: a container started, watched, signalled and deleted with curl
	@scripts/setup.sh demo
	@$(MAKE) --no-print-directory build
	@scripts/demo.sh

test: ## build, lint, types, sanitizers, unit and end-to-end tests; prints the counts
	@scripts/test.sh

chaos: build ## kill the daemon 1,000 times under load and check what was told; ARGS="--kills 50 --seed 7" and the like
	@scripts/setup.sh demo
	@$(node) node test/chaos/chaos.ts $(ARGS)

chaos-bugs: build ## put known mistakes back in, one at a time, and see that the chaos run finds each
	@$(node) node test/chaos/bugs.ts $(ARGS)

fuzz: build ## libFuzzer over the parsers of the shim, SECONDS (60) each, then every route with random requests
	@scripts/setup.sh fuzz
	@$(node) test/native/fuzz.sh "$(CURDIR)" $(or $(SECONDS),60)
	@RUNS=$(or $(RUNS),2000) $(node) node test/e2e/routes.test.ts | grep -vE '^ *(ok|$$)'

flood: build ## 1 GB of output past a follower and a sleeper, each byte accounted for; LINES=120000000
	@scripts/setup.sh demo
	@LOG_LINES=$(or $(LINES),120000000) TAP_TIMEOUT=600 $(node) node test/e2e/logs.test.ts

valgrind: build ## the shim's tests under valgrind
	@scripts/setup.sh valgrind
	@$(node) $(MAKE) --no-print-directory -C test/native valgrind

soak: build ## 10,000 lifecycles: memory, descriptors, processes, mounts and cgroups must stay; ARGS="--rounds 1000"
	@scripts/setup.sh demo
	@$(node) node test/chaos/soak.ts $(ARGS)

start: build ## run the daemon in the foreground; ARGS="--listen 127.0.0.1:7080" and the like
	@exec bin/longshored $(ARGS)

lint: node_modules/.package-lock.json ## code style, the rules of the house, and openapi.yaml
	@scripts/lint.sh

types: node_modules/.package-lock.json ## check the types of sources, tests and scripts
	@$(node) tsc -p .

bench: build ## measure on this machine; BENCH=name for one of bench/
	@scripts/bench.sh $(BENCH)

compare: build ## measure this tree against another commit, in turn; WITH=commit
	@scripts/setup.sh demo
	@scripts/compare.sh $(WITH)

bench-events: build ## measure the event stream: fan-out, idle and slow readers, replay; READERS=1,100 and the like
	@scripts/bench.sh events

openapi: node_modules/.package-lock.json native ## write openapi.yaml anew from the routes, and the client's types from it
	@$(node) node scripts/openapi.ts

client: node_modules/.package-lock.json ## build/client: the npm package @longshore/client
	@$(node) node scripts/client.ts

install: build ## install to PREFIX (/usr/local); DESTDIR is honoured
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/install.sh

install-unit: ## install the systemd unit to UNITDIR (/etc/systemd/system)
	@install -d '$(DESTDIR)$(UNITDIR)'
	@sed 's|@PREFIX@|$(PREFIX)|' packaging/longshored.service > '$(DESTDIR)$(UNITDIR)/longshored.service'
	@echo 'Installed $(DESTDIR)$(UNITDIR)/longshored.service. Next: systemctl daemon-reload && systemctl enable --now longshored'

uninstall: ## remove what install and install-unit put there; containers and their records stay
	@rm -rf '$(DESTDIR)$(PREFIX)/lib/longshore'
	@rm -f '$(DESTDIR)$(PREFIX)/bin/longshored' '$(DESTDIR)$(UNITDIR)/longshored.service'

clean: ## remove what was built; node_modules stays
	@rm -rf build dist .tap
