//go:build !unix

package startup

func fillStandard() error { return nil }
