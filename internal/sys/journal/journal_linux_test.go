package journal

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func all(context.Context, slog.Level) bool { return true }

func TestEachLineHasThePriorityOfItsLevel(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(New(&out, all))
	for level, want := range map[slog.Level]string{
		slog.LevelDebug - 4: "<7>", slog.LevelDebug: "<7>", slog.LevelInfo: "<6>", slog.LevelInfo + 2: "<5>", slog.LevelWarn: "<4>", slog.LevelError: "<3>",
		slog.LevelError + 4: "<2>",
	} {
		out.Reset()
		log.Log(context.Background(), level, "one\ntwo\n\nfour\n", "n", 1, "text", "a\nb <0>")
		require.Equal(t, want+"one\n"+want+"two\n"+want+"\n"+want+"four n=1 text=\"a\\nb <0>\"\n", out.String())
	}
}

func TestAttributesHaveTheFormatOfTheTextHandler(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(New(&out, all)).With("a", 1)
	log.Info("bare")
	log.WithGroup("g").With("b", "two words").Info("grouped", "level", slog.LevelWarn, "msg", "")
	log.Info("", "level", "loud", "msg", "mine", "time", "noon")
	slog.New(New(&out, all)).Info("nothing")
	require.Equal(t, "<6>bare a=1\n<6>grouped a=1 g.b=\"two words\" g.level=WARN g.msg=\"\"\n<6> a=1 level=loud msg=mine time=noon\n<6>nothing\n", out.String())
}

func TestADisabledLevelIsNotWritten(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	slog.New(New(&out, func(_ context.Context, level slog.Level) bool { return level > slog.LevelInfo })).With("a", 1).Info("x")
	require.Empty(t, out.String())
}

// Lines of several goroutines and processes do not mix, because each record is one write.
func TestARecordIsOneWrite(t *testing.T) {
	t.Parallel()
	var w writes
	log := slog.New(New(&w, all))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				log.Info("a\nb", "n", 1)
			}
		})
	}
	wg.Wait()
	require.Equal(t, strings.Repeat("<6>a\n<6>b n=1\n|", 400), w.text.String())
}

type writes struct{ text strings.Builder } // needs no lock: the handler has one

func (w *writes) Write(b []byte) (int, error) {
	w.text.Write(b)
	w.text.WriteByte('|')
	return len(b), nil
}

func TestStderrIsRecognizedByDeviceAndInode(t *testing.T) {
	t.Parallel()
	info, err := os.Stderr.Stat()
	require.NoError(t, err)
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Skip("no inodes here")
	}
	require.True(t, IsStderr(fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)))
	for _, stream := range []string{"", "x", fmt.Sprintf("%d:%d", stat.Dev, stat.Ino+1), fmt.Sprintf("%d:%d:", stat.Dev, stat.Ino), fmt.Sprint(stat.Dev)} {
		require.False(t, IsStderr(stream), "%q", stream)
	}
}
