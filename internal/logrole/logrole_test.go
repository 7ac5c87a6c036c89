package logrole

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheRoleIsTheLastAttribute(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	plain := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	log := With(plain, "worker")
	log.Info("one", "n", 1)
	log.With("a", "b").Info("two")
	log.WithGroup("g").Info("three", "n", 3)
	log.Debug("hidden")
	plain.Info("four")
	require.Equal(t, "level=INFO msg=one n=1 role=worker\nlevel=INFO msg=two a=b role=worker\n"+
		"level=INFO msg=three g.n=3 g.role=worker\nlevel=INFO msg=four\n", out.String())
}
