// Package memfile makes sealed memory files (memfd_create(2)). Their content cannot change, so a
// process can trust what it has checked.
package memfile
