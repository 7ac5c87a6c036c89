package privilege

// As calls do with the rights of that user on files, and no others, in one thread of this process;
// everything else stays. do must only open files: goroutines that it starts have the rights of the
// process. It needs root. Where the system has no such rights of one thread, it calls do as the
// process is.
func As(id Identity, do func() error) error { return as(id, do) }
