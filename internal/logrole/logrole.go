// Package logrole marks log records with the role of their process. In a log that several processes
// share, the role shows which process wrote a record.
package logrole

import (
	"context"
	"log/slog"
)

// With returns a logger whose records end with the role of this process.
func With(log *slog.Logger, role string) *slog.Logger {
	return slog.New(handler{log.Handler(), slog.String("role", role)})
}

// handler appends the attribute to each record.
type handler struct {
	slog.Handler
	role slog.Attr
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	r = r.Clone()
	r.AddAttrs(h.role)
	return h.Handler.Handle(ctx, r)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs), h.role}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.role}
}
