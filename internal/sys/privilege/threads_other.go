//go:build unix && !aix && !linux

package privilege

const descriptors = "/dev/fd"

// threads is empty, because on systems other than Linux all threads have the same identity.
type threads struct{}

func lookAtThreads() *threads { return nil }

func (*threads) close() {}

func (*threads) check(Identity) error { return nil }
