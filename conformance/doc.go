// Package conformance runs programs of this library under the service managers that they are made for: what _example/deploy holds, as it
// stands there, and a daemon that waits, fails and hangs on purpose. It has only tests.
//
// The managers live in containers (systemd-nspawn), so nothing on this machine is touched, and a real systemd is process 1 of one. "make conformance"
// makes the images, once, and runs the tests; without them, or without root, the tests skip and say so.
package conformance
