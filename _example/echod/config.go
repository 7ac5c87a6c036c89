package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
)

// config is the content of the file:
//
//	{
//		"listen":   "127.0.0.1:8080",
//		"greeting": "hello",
//		"level":    "info"
//	}
//
// A config never changes. A reload replaces it with a new one.
type config struct {
	listen   string
	greeting string     // default: hello
	level    slog.Level // default: info

	listenLine int // for the error about a changed address
}

// configFile is the component that holds the live configuration.
type configFile struct {
	path     string
	setLevel func(slog.Level)
	live     atomic.Pointer[config]
}

// current returns the configuration. Call it once for each request: the next call may return
// another configuration.
func (f *configFile) current() *config { return f.live.Load() }

// check checks only the file. It also runs without a daemon, for `echod check`.
func (f *configFile) check(context.Context) error {
	_, err := load(f.path)
	return err
}

func (f *configFile) start(context.Context) error {
	next, err := load(f.path)
	if err != nil {
		return err
	}
	f.apply(next)
	return nil
}

// reload reads the file again, because it may have changed since check. After an error the old
// configuration stays.
func (f *configFile) reload(context.Context) error {
	next, err := load(f.path)
	if err != nil {
		return err
	}
	if old := f.current().listen; next.listen != old {
		return fmt.Errorf("%s:%d: field %q: cannot change from %s to %s on reload; restart echod",
			f.path, next.listenLine, "listen", old, next.listen)
	}
	f.apply(next)
	return nil
}

func (f *configFile) apply(next *config) {
	f.live.Store(next)
	f.setLevel(next.level)
}

func load(path string) (*config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parse(path, data)
}

// fields maps the name of each field to the function that parses its value.
var fields = map[string]func(c *config, value string) error{
	"listen": func(c *config, value string) error {
		_, port, err := net.SplitHostPort(value)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		c.listen = value
		return err
	},
	"greeting": func(c *config, value string) error {
		c.greeting = value
		return nil
	},
	"level": func(c *config, value string) error {
		level, known := levels[value]
		if !known {
			return fmt.Errorf("%q is not one of debug, info, warn, error", value)
		}
		c.level = level
		return nil
	},
}

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug,
	"info":  slog.LevelInfo,
	"warn":  slog.LevelWarn,
	"error": slog.LevelError,
}

// parse reads the tokens of the file. It does not use json.Unmarshal, which does not report the
// line of a wrong value. json.Unmarshal also accepts "Listen" for "listen", and the last of two
// equal fields.
func parse(path string, data []byte) (*config, error) {
	p := &parser{path: path, data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	c := &config{greeting: "hello", level: slog.LevelInfo}

	if len(bytes.TrimSpace(data)) == 0 {
		return nil, p.errorf(1, "the file is empty")
	}
	start, err := p.token()
	if err != nil {
		return nil, err
	}
	if start != json.Delim('{') {
		return nil, p.errorf(p.line(), "must be an object, not %s", kind(start))
	}

	seen := map[string]int{} // the line of each field
	for p.dec.More() {
		if err := p.field(c, seen); err != nil {
			return nil, err
		}
	}
	if _, err := p.token(); err != nil { // the closing brace
		return nil, err
	}

	end := p.line()
	if rest := bytes.TrimSpace(data[p.dec.InputOffset():]); len(rest) > 0 {
		return nil, p.errorf(p.lineAt(bytes.LastIndex(data, rest)), "unexpected data after the end of the object")
	}
	if seen["listen"] == 0 {
		return nil, p.errorf(end, "missing field %q", "listen")
	}
	c.listenLine = seen["listen"]
	return c, nil
}

type parser struct {
	path string
	data []byte
	dec  *json.Decoder
}

// field parses one name and its value into c.
func (p *parser) field(c *config, seen map[string]int) error {
	token, err := p.token()
	if err != nil {
		return err
	}
	name, line := token.(string), p.line() // the decoder accepts only a string as a name

	set, known := fields[name]
	if !known {
		return p.errorf(line, "unknown field %q", name)
	}
	if first := seen[name]; first != 0 {
		return p.errorf(line, "duplicate field %q, first given in line %d", name, first)
	}
	seen[name] = line

	token, err = p.token()
	if err != nil {
		return err
	}
	value, isString := token.(string)
	if !isString {
		return p.errorf(line, "field %q: must be a string, not %s", name, kind(token))
	}
	if err := set(c, value); err != nil {
		return p.errorf(line, "field %q: %w", name, err)
	}
	return nil
}

func (p *parser) token() (json.Token, error) {
	token, err := p.dec.Token()
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, p.errorf(p.lineAt(len(bytes.TrimSpace(p.data))), "unexpected end of file")
	case errors.As(err, &syntax):
		return nil, p.errorf(p.lineAt(int(syntax.Offset)), "%w", err)
	case err != nil:
		return nil, p.errorf(p.line(), "%w", err)
	}
	return token, nil
}

// line returns the line of the last token. No JSON token spans two lines.
func (p *parser) line() int { return p.lineAt(int(p.dec.InputOffset())) }

func (p *parser) lineAt(offset int) int {
	return 1 + bytes.Count(p.data[:min(offset, len(p.data))], []byte("\n"))
}

func (p *parser) errorf(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", p.path, line, fmt.Errorf(format, args...))
}

func kind(token json.Token) string {
	switch token := token.(type) {
	case json.Delim:
		if token == '[' {
			return "an array"
		}
		return "an object"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case nil:
		return "null"
	default:
		return "a number"
	}
}
