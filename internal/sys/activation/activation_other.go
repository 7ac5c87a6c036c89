//go:build !unix || aix

package activation

import "os"

func take([]string) []Socket { return nil }

func network(*os.File) string { return "" }

func path(*os.File) string { return "" }
