package supervise

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/sys/activation"
	"example.com/lifecycle/internal/sys/sdnotify"
)

// FuzzStore sends arbitrary requests to store and to remove descriptors. It checks that the next
// worker can be started with the stored descriptors, and that every descriptor is either stored or
// reported for closing.
func FuzzStore(f *testing.F) {
	f.Add("FDSTORE=1\nFDNAME=a\x00FDSTORE=1\nFDNAME=b\x00FDSTOREREMOVE=1\nFDNAME=a", uint8(1))
	f.Add("FDSTORE=1\nFDNAME=a:b\x00FDSTORE=1\nFDNAME=\x00FDSTORE=1", uint8(3))
	f.Add("FDSTOREREMOVE=1\x00FDSTORE=0\x00FDNAME=a", uint8(2))
	f.Add(strings.Repeat("FDSTORE=1\nFDNAME="+strings.Repeat("x", 255)+"\x00", 40), uint8(4))
	f.Add("FDSTORE=1\nFDSTOREREMOVE=1\nFDNAME=a", uint8(1))
	f.Fuzz(func(t *testing.T, said string, files uint8) {
		s, p, _ := newProcess(t)
		given := map[*os.File]bool{}
		for text := range strings.SplitSeq(said, "\x00") {
			m := sdnotify.Message{PID: p.PID, Text: text}
			for range min(files, 4) {
				r, w, err := os.Pipe()
				require.NoError(t, err)
				given[r], given[w] = true, true
				m.Files = append(m.Files, r, w)
			}
			request := newStoreRequest(m)
			s.store.update(&request)
			for _, c := range request.close {
				require.True(t, given[c], "every descriptor is closed once")
				delete(given, c)
				c.Close()
			}
			if len(given) > 200 {
				break
			}
		}
		var names []string
		for _, e := range s.stored() {
			require.True(t, given[e.File])
			require.True(t, fdstore.ValidName(e.Name), "%q", e.Name)
			names = append(names, e.Name)
		}
		require.Len(t, given, len(names), "every descriptor that is not stored is closed")
		require.LessOrEqual(t, len(names), sdnotify.Room())
		require.LessOrEqual(t, len(strings.Join(names, ":")), maxNames)
		s.closeStore()
		require.Eventually(t, func() bool {
			for file := range given {
				if file.Close() == nil {
					return false
				}
			}
			return true
		}, time.Minute, time.Millisecond)
	})
}

// FuzzName checks that the next worker gets each accepted name unchanged.
func FuzzName(f *testing.F) {
	f.Add("stored")
	f.Add("a:b")
	f.Add("\n")
	f.Add(strings.Repeat("x", 256))
	f.Add("tcp%3A%3A8080")
	f.Fuzz(func(t *testing.T, name string) {
		if !fdstore.ValidName(name) {
			return
		}
		require.LessOrEqual(t, len(name), 255)
		require.Equal(t, []string{"a", name, "b"}, strings.Split("a:"+name+":b", ":"))
		if key, ok := activation.Key(name); ok {
			require.Equal(t, name, activation.Name(key))
		}
	})
}

// FuzzObject checks that an accepted JSON object can be parsed, is short and is not nested deeply.
func FuzzObject(f *testing.F) {
	f.Add(`{"doing":"x","last_reload":{"applied":[]}}`)
	f.Add(`{"x":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`)
	f.Add(`{"x":"` + strings.Repeat("[", 20) + `\"{"}`)
	f.Add("{}\x00")
	f.Add("null")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "\n") {
			return
		}
		got := object(sdnotify.Message{Text: "X=" + text}, "X", 1000)
		if got == nil {
			return
		}
		require.Equal(t, text, string(got))
		require.LessOrEqual(t, len(got), 1000)
		depth, deepest := 0, 0
		quoted := false
		for i := 0; i < len(text); i++ {
			switch {
			case quoted && text[i] == '\\':
				i++
			case text[i] == '"':
				quoted = !quoted
			case quoted:
			case strings.ContainsRune("{[", rune(text[i])):
				depth++
				deepest = max(deepest, depth)
			case strings.ContainsRune("}]", rune(text[i])):
				depth--
			}
		}
		require.LessOrEqual(t, deepest, maxDepth)
	})
}
