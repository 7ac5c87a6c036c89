package main

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want config
	}{
		"all fields": {
			"{\n\"greeting\": \"hi\",\n\"level\": \"debug\",\n\"listen\": \"[::1]:80\"\n}\n",
			config{"[::1]:80", "hi", slog.LevelDebug, 4},
		},
		"defaults":            {`{"listen": ":http"}`, config{":http", "hello", slog.LevelInfo, 1}},
		"an empty greeting":   {`{"listen": ":0", "greeting": ""}`, config{":0", "", slog.LevelInfo, 1}},
		"escapes":             {`{"l\u0069sten": ":0", "greeting": "\"\n\u00e9"}`, config{":0", "\"\né", slog.LevelInfo, 1}},
		"lines end in CR LF":  {"{\r\n\"listen\": \":0\"\r\n}\r\n", config{":0", "hello", slog.LevelInfo, 2}},
		"white space outside": {"\n\n {\"listen\": \":0\"} \n\t\n", config{":0", "hello", slog.LevelInfo, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse("echod.json", []byte(test.text))
			require.NoError(t, err)
			assert.Equal(t, test.want, *got)
		})
	}
}

func TestParseNamesLineAndField(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"unknown field":     {"{\n\"lisen\": \":80\"\n}", `echod.json:2: unknown field "lisen"`},
		"other case":        {`{"Listen": ":80"}`, `echod.json:1: unknown field "Listen"`},
		"unknown level":     {"{\n\"listen\": \":80\",\n\"level\": \"loud\"\n}", `echod.json:3: field "level": "loud" is not one of debug, info, warn, error`},
		"level in capitals": {`{"level": "INFO"}`, `echod.json:1: field "level": "INFO" is not one of debug, info, warn, error`},
		"duplicate":         {"{\n\"listen\": \":80\",\n\n\"listen\": \":81\"\n}", `echod.json:4: duplicate field "listen", first given in line 2`},
		"missing listen":    {"{\n\"level\": \"info\"\n}\n", `echod.json:3: missing field "listen"`},
		"empty object":      {"{}", `echod.json:1: missing field "listen"`},

		"number":  {"{\n\"greeting\": 1.5}", `echod.json:2: field "greeting": must be a string, not a number`},
		"boolean": {"{\n\"level\": true}", `echod.json:2: field "level": must be a string, not a boolean`},
		"null":    {"{\n\"listen\": null}", `echod.json:2: field "listen": must be a string, not null`},
		"array":   {"{\n\"listen\": [\":80\"]}", `echod.json:2: field "listen": must be a string, not an array`},
		"object":  {"{\n\"listen\": {}}", `echod.json:2: field "listen": must be a string, not an object`},

		"no port":      {`{"listen": "localhost"}`, `echod.json:1: field "listen": address localhost: missing port in address`},
		"empty listen": {`{"listen": ""}`, `echod.json:1: field "listen": missing port in address`},
		"port too big": {`{"listen": ":65536"}`, `echod.json:1: field "listen": address 65536: invalid port`},

		"empty file":        {"", `echod.json:1: the file is empty`},
		"white space":       {"\n \n", `echod.json:1: the file is empty`},
		"no object":         {"\n[]", `echod.json:2: must be an object, not an array`},
		"a string":          {`"listen"`, `echod.json:1: must be an object, not a string`},
		"trailing object":   {"{\"listen\": \":80\"}\n\n{}", `echod.json:3: unexpected data after the end of the object`},
		"trailing brace":    {"{\"listen\": \":80\"}}", `echod.json:1: unexpected data after the end of the object`},
		"cut in a value":    {"{\n\"listen\": \":8", `echod.json:2: unexpected end of file`},
		"cut after a name":  {"{\n\"listen\":\n", `echod.json:2: unexpected end of file`},
		"cut after a comma": {"{\n\"listen\": \":80\",\n", `echod.json:2: unexpected end of file`},
		"no closing brace":  {"{\n\"listen\": \":80\"\n", `echod.json:2: unexpected end of file`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse("echod.json", []byte(test.text))
			assert.Nil(t, got)
			assert.EqualError(t, err, test.want)
		})
	}
}

// The text of the error comes from encoding/json and may change. The line number is ours.
func TestParseNamesLineOfSyntaxError(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"trailing comma":    {"{\n\"listen\": \":80\",\n}", "echod.json:3: "},
		"no comma":          {"{\n\"listen\": \":80\"\n\"level\": \"info\"\n}", "echod.json:3: "},
		"no colon":          {"{\n\"listen\" \":80\"\n}", "echod.json:2: "},
		"no quotes":         {"{\n\"listen\": \":80\",\n\"level\": info\n}", "echod.json:3: "},
		"name is no string": {"{\n\"listen\": \":80\",\n\n80: 80\n}", "echod.json:4: "},
		"comment":           {"{\n// listen\n\"listen\": \":80\"\n}", "echod.json:2: "},
		"wrong bracket":     {"{\n\"listen\": \":80\"\n]", "echod.json:3: "},
		"broken string":     {"{\n\"listen\": \":80\n\"}", "echod.json:2: "},
		"no JSON":           {"\nlisten = :80\n", "echod.json:2: "},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse("echod.json", []byte(test.text))
			assert.Nil(t, got)
			require.ErrorContains(t, err, test.want)
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"listen": ":80", "greeting": "hi", "level": "warn"}`))
	f.Add([]byte("{\n\"listen\": [1, null, {}],}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parse("echod.json", data)
		if err == nil {
			require.NotEmpty(t, c.listen)
			require.Positive(t, c.listenLine)
			return
		}
		require.Nil(t, c)
		require.Regexp(t, `^echod\.json:[1-9]\d*: `, err.Error())
	})
}

// A rejected reload keeps the old configuration and level. A successful reload applies the new
// configuration and level.
func TestReload(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "echod.json")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	level := new(slog.LevelVar)
	f := &configFile{path: path, setLevel: level.Set}

	require.ErrorIs(t, f.start(ctx), fs.ErrNotExist)
	require.ErrorIs(t, f.check(ctx), fs.ErrNotExist)
	write(`{"listen": ":80", "greeting": "one", "level": "warn"}`)
	require.NoError(t, f.start(ctx))
	first := f.current()
	assert.Equal(t, slog.LevelWarn, level.Level())

	unchanged := func() {
		assert.Same(t, first, f.current())
		assert.Equal(t, slog.LevelWarn, level.Level())
	}
	write("{\n\"listen\": \":80\", \"level\": \"debug\",\n\"color\": 1}")
	require.EqualError(t, f.reload(ctx), path+`:3: unknown field "color"`)
	unchanged()
	write("{\n\"level\": \"debug\",\n\"listen\": \":81\"}")
	require.EqualError(t, f.reload(ctx), path+`:3: field "listen": cannot change from :80 to :81 on reload; restart echod`)
	unchanged()
	require.NoError(t, f.check(ctx), "check judges the file, not the change")
	unchanged()

	write(`{"listen": ":80", "greeting": "two", "level": "error"}`)
	require.NoError(t, f.reload(ctx))
	assert.Equal(t, "two", f.current().greeting)
	assert.Equal(t, slog.LevelError, level.Level())
}
