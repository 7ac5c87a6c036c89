# Each target is a plain command that you can as well type. "make help" lists them.

TOOL = go tool -modfile=tools/go.mod

.PHONY: help build test race lint fmt cross docs mermaid cycles bench stress churn sweep faults model fuzz conformance tour ci

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the library
	go build ./...

test: ## run the tests
	go test ./...

race: ## run the tests under the race detector
	go test -race ./...

lint: ## gofumpt, go vet, staticcheck, go mod tidy: as CI runs them
	bash .ci/run gofumpt vet staticcheck tidy

fmt: ## format the code
	$(TOOL) gofumpt -w .

cross: ## build and vet for every platform
	bash .ci/run cross

docs: ## write the tables and the diagram of docs/ that are made from the code
	LIFECYCLE_UPDATE=1 go test -count=1 -run 'TestDocs|TestThePicture|TestEveryFault|TestTheTestsThat' -p 1 . ./docs ./e2e

mermaid: ## parse the Mermaid diagrams of the pages, with node
	bash .ci/run mermaid

cycles: ## print which files of the root package refer to each other in a circle
	go -C tools run ./cycles ..

bench: ## run the benchmarks, in three minutes, and write the tables of bench/README.md
	go test -v -run '^$$' -bench . . ./bench | go run ./bench/table bench/README.md

stress: ## twenty rounds of the tests under the race detector
	go test -race -count=20 -timeout 60m ./...

churn: ## a long storm on the lock of the PID file, and a million lines over a hundred rotations of the log
	LIFECYCLE_LONG=1 go test -run 'TestChurn|TestRotations' -count=1 -v . ./e2e

sweep: ## SIGKILL at every system call of a start, a stop and the verbs, and a long storm of them
	LIFECYCLE_LONG=1 go test -run 'AKillDuring|VerbThatIsKilledDoes|SuspendedDaemonIs|VerbThatWasSuspended|StatusIsTrue' -count=1 -timeout 30m -v . ./e2e

faults: ## an error of every system call of a start, a stop and the verbs
	LIFECYCLE_LONG=1 go test -run 'AFaultDuringAStart|AFaultInADaemon|AFaultInAVerb' -count=1 -timeout 30m -v . ./e2e

model: ## thousands of random interleavings of signals, verbs, looks and kills
	LIFECYCLE_LONG=1 go test -run KeepsToTheModel -count=1 -timeout 30m . ./e2e

fuzz: ## a minute each of random PID files, state records, ends of the handshake, words of a worker, arguments and names of sockets
	for target in Record Verbs Failure; do go test -run '^$$' -fuzz=Fuzz$$target -fuzztime=60s . || exit; done
	for target in Worker Store Name Object; do go test -run '^$$' -fuzz=Fuzz$$target -fuzztime=60s ./internal/supervise || exit; done
	for target in Message Value; do go test -run '^$$' -fuzz=Fuzz$$target -fuzztime=60s ./internal/sdnotify || exit; done
	go test -run '^$$' -fuzz=FuzzStageError -fuzztime=60s ./internal/worker
	go test -run '^$$' -fuzz=FuzzStat -fuzztime=60s ./internal/reaper
	for target in Launcher Daemon; do go test -run '^$$' -fuzz=Fuzz$$target -fuzztime=60s ./internal/handshake || exit; done
	go test -run '^$$' -fuzz=FuzzPID -fuzztime=60s ./internal/pidfile
	for target in Name Parse; do go test -run '^$$' -fuzz=Fuzz$$target -fuzztime=60s ./internal/activation || exit; done
	go test -run '^$$' -fuzz=FuzzWhateverAPeerSends -fuzztime=60s ./internal/ctlsock

conformance: ## as root: make the images, once, and run what _example/deploy holds under systemd and others
	bash .ci/run conformance

tour: ## the guided tour
	go run ./_example/tour

ci: ## everything that CI runs on Linux
	bash .ci/run
