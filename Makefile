# Each target is a plain command that you can also type. "make help" lists the targets.

TOOL = go tool -modfile=tools/go.mod

.PHONY: help build test race lint fmt cross docs words mermaid cycles bench bench-upgrade stress churn sweep faults model fuzz conformance tour ci

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the library
	go build ./...

test: ## run the tests
	go test ./...

race: ## run the tests in the length of CI under the race detector
	LIFECYCLE_LONG=ci go test -race -timeout 12m ./...

lint: ## gofumpt, go vet, staticcheck and go mod tidy, as in CI
	bash .ci/run gofumpt vet staticcheck tidy

fmt: ## format the code
	$(TOOL) gofumpt -w .

cross: ## build and vet for every platform
	bash .ci/run cross

docs: ## write the generated tables and diagram of docs/
	LIFECYCLE_UPDATE=1 go test -count=1 -run 'TestDocs|TestEveryFault|TestTheTestsThat' -p 1 . ./docs ./e2e

words: ## find long lines, spelling mistakes and unused words in comments and pages
	bash .ci/run words

mermaid: ## parse the Mermaid diagrams of the pages (needs node)
	bash .ci/run mermaid

cycles: ## print which files of the root package refer to each other in a cycle
	go -C tools run ./cycles ..

bench: ## run the benchmarks (three minutes) and write the tables of bench/README.md
	go test -v -run '^$$' -bench . . ./bench | go run ./bench/table bench/README.md

bench-upgrade: ## compare upgrades with nginx, HAProxy and tableflip (seven minutes)
	cd bench/upgrade && go run . -page ../README.md

stress: ## run the tests twenty times under the race detector
	LIFECYCLE_LONG=ci go test -race -count=20 -timeout 4h ./...

churn: ## stress the PID file lock, and log a million lines over a hundred rotations
	LIFECYCLE_LONG=1 go test -run 'TestChurn|TestRotations' -count=1 -v . ./e2e

sweep: ## kill at every system call of a start, a stop, an upgrade, a supervisor and the verbs
	LIFECYCLE_LONG=1 go test -run 'AKillDuring|AKilledVerb|ASignalAtTheExecve|SuspendedDaemonIs|AResumedVerb|StatusIsRight' -count=1 -timeout 90m -v . ./e2e

faults: ## fail every system call of a start, a stop, an upgrade and the verbs
	LIFECYCLE_LONG=1 go test -run 'AFaultDuring|AFaultInADaemon|AFaultInAVerb' -count=1 -timeout 90m -v . ./e2e

model: ## thousands of random interleavings of signals, verbs, status queries and kills
	LIFECYCLE_LONG=1 go test -run KeepToTheModel -count=1 -timeout 90m . ./e2e

fuzz: ## run every fuzz target for a minute
	for target in Record Verbs Failure; do go test -run '^$$' -fuzz=Fuzz$$target -fuzztime=60s . || exit; done
	for target in Worker Store Name Object; do go test -run '^$$' -fuzz=Fuzz$$target -fuzztime=60s ./internal/supervise || exit; done
	for target in Message Value; do go test -run '^$$' -fuzz=Fuzz$$target -fuzztime=60s ./internal/sys/sdnotify || exit; done
	go test -run '^$$' -fuzz=FuzzStageError -fuzztime=60s ./internal/sys/worker
	for package in proc reaper; do go test -run '^$$' -fuzz='FuzzStat$$' -fuzztime=60s ./internal/sys/$$package || exit; done
	for target in Launcher Daemon; do go test -run '^$$' -fuzz=Fuzz$$target -fuzztime=60s ./internal/handshake || exit; done
	go test -run '^$$' -fuzz=FuzzPID -fuzztime=60s ./internal/pidfile
	for target in Name Parse; do go test -run '^$$' -fuzz=Fuzz$$target -fuzztime=60s ./internal/sys/activation || exit; done
	go test -run '^$$' -fuzz=FuzzPeer -fuzztime=60s ./internal/sys/ctlsock

conformance: ## as root: make the images once, and test _example/deploy under systemd and others
	bash .ci/run conformance

tour: ## run the guided tour
	go run ./_example/tour

ci: ## run all that CI runs on Linux
	bash .ci/run
