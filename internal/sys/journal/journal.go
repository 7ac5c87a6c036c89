// Package journal writes log records in the format in which the journal of systemd reads the stderr
// of a service. Each line begins with its priority, such as "<6>" (sd-daemon(3)). Lines have no
// time, because the journal adds it.
package journal

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// IsStderr reports whether stderr goes to the journal. stream is the value of JOURNAL_STREAM: the
// device and inode of the journal's stream (systemd.exec(5)). If stderr was redirected to a file or
// a pipe since, its inode differs.
func IsStderr(stream string) bool { return isStderr(stream) }

// Handler writes each record with one write: the message with a priority before each of its lines,
// then the attributes in the format of [slog.TextHandler].
type Handler struct {
	enabled func(context.Context, slog.Level) bool
	attrs   slog.Handler // writes the attributes to out.buf
	out     *output
}

type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
	w   io.Writer
}

// New returns a handler that writes to w the records for which enabled returns true.
func New(w io.Writer, enabled func(context.Context, slog.Level) bool) *Handler {
	out := &output{w: w}
	attrs := slog.NewTextHandler(&out.buf, &slog.HandlerOptions{Level: slog.Level(-1 << 31), ReplaceAttr: withoutBuiltIn})
	return &Handler{enabled, attrs, out}
}

// withoutBuiltIn drops the built-in level and message, because the line already contains them.
// Attributes of the application may have the same keys. withoutBuiltIn recognizes them. Such a
// level is not a slog.Level or is the second level. Such a message is not empty.
func withoutBuiltIn(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	_, isLevel := a.Value.Any().(slog.Level)
	if a.Key == slog.LevelKey && isLevel || a.Key == slog.MessageKey && a.Value.Equal(slog.StringValue("")) {
		return slog.Attr{}
	}
	return a
}

func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool { return h.enabled(ctx, level) }

func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.buf.Reset()
	text := r.Message
	r.Message, r.Time = "", time.Time{} // a zero time is not written
	if err := h.attrs.Handle(ctx, r); err != nil {
		return err
	}
	text = strings.TrimRight(text, "\n")
	if attrs := strings.TrimSuffix(h.out.buf.String(), "\n"); attrs != "" {
		text += " " + attrs
	}
	prefix := priority(r.Level)
	_, err := io.WriteString(h.out.w, prefix+strings.ReplaceAll(text, "\n", "\n"+prefix)+"\n")
	return err
}

func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{h.enabled, h.attrs.WithAttrs(attrs), h.out}
}

func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{h.enabled, h.attrs.WithGroup(name), h.out}
}

// priority returns the syslog(3) priority of the level.
func priority(level slog.Level) string {
	switch {
	case level > slog.LevelError:
		return "<2>" // critical
	case level == slog.LevelError:
		return "<3>"
	case level >= slog.LevelWarn:
		return "<4>"
	case level > slog.LevelInfo:
		return "<5>" // notice
	case level == slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}
