package privilege

// As calls do in one thread with exactly the file access rights of that user. The rest of the
// process keeps its rights. do must only open files, because goroutines that it starts have the
// rights of the process. The process must be root. If the system does not support rights per
// thread, As calls do with the rights of the process.
func As(id Identity, do func() error) error { return as(id, do) }
