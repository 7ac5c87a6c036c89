//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package pin

var ways = map[string]func(int) (process, error){"kqueue": hold}
