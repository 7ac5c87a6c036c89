package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// result is what clients noticed of the upgrades of a server.
type result struct {
	load   *load
	first  []time.Duration // from each command to the first answer of the new version
	memory int             // the most memory of all processes, in bytes (PSS)
}

func (r result) row(name string) string {
	took := r.load.latencies()
	slices.Sort(r.first)
	return fmt.Sprintf("| %s | %d | %d | %.2f | %.2f | %.1f | %.1f | %.1f |", name, r.load.failed.Load(), len(took)+int(r.load.failed.Load()),
		ms(quantile(took, 0.5)), ms(quantile(took, 0.99)), ms(quantile(took, 1)), ms(quantile(r.first, 0.5)), float64(r.memory)/(1<<20))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// quantile returns the value below which that part of the sorted values is.
func quantile(sorted []time.Duration, part float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(part*float64(len(sorted))), len(sorted)-1)]
}

// patience is how long a server may take to start, or to upgrade.
const patience = 20 * time.Second

func measure(s server, under string, upgrades, rate int) (result, error) {
	dir := filepath.Join(under, s.name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return result{}, err
	}
	r := &running{dir: dir, address: freeAddress()}
	setVersion := func(n int) error {
		r.version = fmt.Sprintf("version %d", n)
		return os.WriteFile(filepath.Join(dir, "version"), []byte(r.version), 0o644)
	}
	if err := setVersion(0); err != nil {
		return result{}, err
	}
	if err := s.start(r); err != nil {
		return result{}, err
	}
	defer s.stop(r)
	probe := newClient(r.address, false)
	if _, err := await(probe, "version 0"); err != nil {
		return result{}, fmt.Errorf("it does not serve: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	res := result{load: newLoad(r.address, rate)}
	go res.load.run(ctx)
	time.Sleep(time.Second) // the master process of HAProxy ignores an earlier signal
	for n := range upgrades {
		if err := setVersion(n + 1); err != nil {
			return res, err
		}
		begun := time.Now()
		upgraded := make(chan error, 1)
		go func() { upgraded <- s.upgrade(r) }()
		at, err := await(probe, r.version)
		if err = errors.Join(err, <-upgraded); err != nil {
			return res, fmt.Errorf("upgrade %d: %w", n+1, err)
		}
		res.first = append(res.first, at.Sub(begun))
		res.memory = max(res.memory, memoryOf(dir))
		time.Sleep(max(0, time.Second-time.Since(begun))) // one upgrade a second
	}
	cancel()
	<-res.load.over
	return res, nil
}

// await asks until the answer is that version, and returns when it came.
func await(c *client, version string) (time.Time, error) {
	var answer string
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if answer, err = c.ask(); err == nil && answer == version {
			return time.Now(), nil
		}
	}
	return time.Time{}, fmt.Errorf("no answer of %q: the last one is %q, %v", version, answer, err)
}

func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:8888"
	}
	defer l.Close()
	return l.Addr().String()
}

// memoryOf returns the proportional set size of the processes whose command line contains dir
// (proc_pid_smaps(5)).
func memoryOf(dir string) (bytes int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		args, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if pid, numErr := strconv.Atoi(e.Name()); err != nil || numErr != nil || pid == os.Getpid() {
			continue
		}
		if !strings.Contains(string(args), dir) && !childOf(e.Name(), dir) {
			continue
		}
		text, _ := os.ReadFile("/proc/" + e.Name() + "/smaps_rollup")
		for line := range strings.Lines(string(text)) {
			if rest, found := strings.CutPrefix(line, "Pss:"); found {
				kb, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
				bytes += kb << 10
			}
		}
	}
	return bytes
}

// childOf reports whether the parent of a process has dir in its command line. The workers of nginx
// have a command line of their own.
func childOf(pid, dir string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 2 {
		return false
	}
	args, _ := os.ReadFile("/proc/" + fields[1] + "/cmdline")
	return strings.Contains(string(args), dir)
}
