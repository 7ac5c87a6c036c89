//go:build !linux

package proc

import "os"

func name(int) string { return "" }

func dispositionOf(int, os.Signal) Disposition { return Default }

func identity(int) string { return "" }

func groupOf(int) int { return 0 }

func isStopped(int) bool { return false }

func of(int) (p Process, ok bool) { return p, false }

func list() []Process { return nil }

func namespace() string { return "" }

func descends(int) bool { return false }
