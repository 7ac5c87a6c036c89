package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a kind of server that can be upgraded.
type server struct {
	name    string
	start   func(*running) error
	upgrade func(*running) error // requests the upgrade; the new process may not serve yet
	stop    func(*running)
}

// running is one server that runs.
type running struct {
	dir, address, version string
	pid                   int
}

func servers() []server {
	return []server{
		{"lifecycle", startLifecycle, upgradeLifecycle, stopLifecycle},
		{"tableflip", startTableflip, upgradeTableflip, stopByFile("tableflip.pid")},
		{"nginx", startNginx, upgradeNginx, stopByFile("nginx.pid")},
		{"HAProxy", startHAProxy, upgradeHAProxy, stopByFile("haproxy.pid")},
	}
}

func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(name), err, out)
	}
	return nil
}

// build builds the program ./server/NAME. It writes the executable to the directory of r.
func (r *running) build(name string) (path string, err error) {
	path = filepath.Join(r.dir, name)
	return path, command("go", "build", "-o", path, "./server/"+name)
}

// pidIn returns the PID in a file of the server, or 0.
func (r *running) pidIn(name string) int {
	text, _ := os.ReadFile(filepath.Join(r.dir, name))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// awaitPID waits until the file of the server has another PID than before.
func (r *running) awaitPID(name string, before int) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if pid := r.pidIn(name); pid != 0 && pid != before {
			return nil
		}
	}
	return fmt.Errorf("no other PID in %s", name)
}

func stopByFile(name string) func(*running) {
	return func(r *running) {
		if pid := r.pidIn(name); pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	}
}

func startLifecycle(r *running) error {
	path, err := r.build("lifecycle")
	if err != nil {
		return err
	}
	return command(path, r.dir, r.address, "start")
}

func upgradeLifecycle(r *running) error {
	return command(filepath.Join(r.dir, "lifecycle"), r.dir, r.address, "upgrade")
}

func stopLifecycle(r *running) {
	_ = command(filepath.Join(r.dir, "lifecycle"), r.dir, r.address, "stop")
}

func startTableflip(r *running) error {
	path, err := r.build("tableflip")
	if err != nil {
		return err
	}
	cmd := exec.Command(path, r.dir, r.address)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	return r.awaitPID("tableflip.pid", 0)
}

func upgradeTableflip(r *running) error {
	before := r.pidIn("tableflip.pid")
	if err := syscall.Kill(before, syscall.SIGHUP); err != nil {
		return err
	}
	return r.awaitPID("tableflip.pid", before)
}

const nginxConfig = `pid %[1]s/nginx.pid;
error_log %[1]s/nginx.log;
worker_processes 1;
events { worker_connections 1024; }
http {
	access_log off;
	server {
		listen %[2]s;
		location / { return 200 "%[3]s"; }
	}
}
`

func (r *running) writeConfig(name, format string) error {
	return os.WriteFile(filepath.Join(r.dir, name), fmt.Appendf(nil, format, r.dir, r.address, r.version), 0o644)
}

func startNginx(r *running) error {
	path, err := exec.LookPath("nginx")
	if err != nil {
		return err
	}
	if err := r.writeConfig("nginx.conf", nginxConfig); err != nil {
		return err
	}
	return command(path, "-c", filepath.Join(r.dir, "nginx.conf"))
}

// upgradeNginx follows "Upgrading Executable on the Fly" in the documentation of nginx.
func upgradeNginx(r *running) error {
	if err := r.writeConfig("nginx.conf", nginxConfig); err != nil {
		return err
	}
	before := r.pidIn("nginx.pid")
	if err := syscall.Kill(before, syscall.SIGUSR2); err != nil {
		return err
	}
	if err := r.awaitPID("nginx.pid", before); err != nil {
		return err
	}
	return syscall.Kill(before, syscall.SIGQUIT)
}

const haproxyConfig = `global
	maxconn 1000
	stats socket %[1]s/haproxy.sock mode 600 level admin expose-fd listeners
defaults
	mode http
	timeout client 30s
	timeout server 30s
	timeout connect 5s
frontend main
	bind %[2]s
	http-request return status 200 content-type text/plain string "%[3]s"
`

func startHAProxy(r *running) error {
	path, err := exec.LookPath("haproxy")
	if err != nil {
		return err
	}
	if err := r.writeConfig("haproxy.cfg", haproxyConfig); err != nil {
		return err
	}
	// The master process writes to its stderr at each upgrade. Therefore stderr must not be a closed
	// pipe.
	return exec.Command(path, "-D", "-W", "-f", filepath.Join(r.dir, "haproxy.cfg"), "-p", filepath.Join(r.dir, "haproxy.pid")).Run()
}

// upgradeHAProxy makes the master process start a new worker (HAProxy Management Guide, section 4).
func upgradeHAProxy(r *running) error {
	if err := r.writeConfig("haproxy.cfg", haproxyConfig); err != nil {
		return err
	}
	return syscall.Kill(r.pidIn("haproxy.pid"), syscall.SIGUSR2)
}
