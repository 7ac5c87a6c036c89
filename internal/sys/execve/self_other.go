//go:build !linux

package execve

func selfArgs(args []string) ([]string, error) { return args, nil }

func programArgs(path string, args []string) (string, []string, error) { return path, args, nil }
