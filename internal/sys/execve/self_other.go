//go:build !linux

package execve

func selfArgs(args []string) ([]string, error) { return args, nil }
