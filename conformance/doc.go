// Package conformance runs programs of this library under real service managers. It runs the
// unchanged files of _example/deploy, and a daemon that waits, fails and hangs on purpose. It also
// runs daemons of Debian, such as nginx, under _example/guard. It contains only tests.
//
// The managers run in containers (systemd-nspawn). The tests change nothing on this machine, except
// that CI installs the daemons of Debian. In one of the containers, a real systemd is process 1.
// "make conformance" makes the images once and runs the tests. Without the images or without root,
// the tests skip and name the reason.
package conformance
