//go:build !linux

package proc

import "os"

func name(int) string { return "" }

func dispositionOf(int, os.Signal) Disposition { return Default }

func identity(int) string { return "" }

func of(int) (p Process, ok bool) { return p, false }

func list() []Process { return nil }

func namespace() string { return "" }

func descends(int) bool { return false }

func environmentOf(int, string) string { return "" }

func image(int) string { return "" }

func uniqueImage(int) string { return "" }

func hasGroup(int) bool { return false }
