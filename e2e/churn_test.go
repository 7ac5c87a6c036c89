package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/proctest"
)

// churner takes and releases the lock as fast as it can:
//
//	churner PIDFILE WITNESS TURNS release|crash
//
// With "crash" it does not remove the file every other time. While it has the lock, it also locks
// the file WITNESS and increments the count in it. It ends when all churners together have had
// TURNS turns. It prints "overlap" if WITNESS is already locked, or if the PID file does not
// contain its own PID.
var churner = proctest.Register("churner", func(args []string) int {
	turns, err := strconv.ParseUint(args[2], 10, 64)
	witness, openErr := os.OpenFile(args[1], os.O_RDWR, 0)
	if err = errors.Join(err, openErr); err != nil {
		fmt.Println(err)
		return 2
	}
	mine := 0
	for turn := uint64(0); turn < turns; {
		lock, err := takePIDFile(args[0])
		var other *pidfile.HeldError
		if errors.As(err, &other) && other.PID != os.Getpid() {
			continue
		}
		var slow *pidfile.OtherHolderError
		// On a busy machine, another churner may stay without a processor between its two locks.
		if errors.As(err, &slow) {
			continue
		}
		if err == nil {
			mine++
			turn, err = witnessTurn(witness, args[0])
			if args[3] == "crash" && mine%2 == 0 {
				lock.File().Close()
			} else {
				_, _ = lock.Release()
			}
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
	}
	fmt.Println("turns:", mine)
	return 0
})

// witnessTurn counts a turn. If two churners count at once, one of them finds the lock taken, or a
// turn is lost.
func witnessTurn(witness *os.File, pidfile string) (turn uint64, err error) {
	if err := syscall.Flock(int(witness.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return 0, fmt.Errorf("overlap: %w", err)
	}
	defer syscall.Flock(int(witness.Fd()), syscall.LOCK_UN)
	var count [8]byte
	if _, err := witness.ReadAt(count[:], 0); err != nil && err != io.EOF {
		return 0, err
	}
	turn = binary.NativeEndian.Uint64(count[:]) + 1
	binary.NativeEndian.PutUint64(count[:], turn)
	if _, err := witness.WriteAt(count[:], 0); err != nil {
		return 0, err
	}
	if turn%2 == 0 {
		return turn, nil
	}
	// The other churners must use the number, because reading the file drops our owner lock.
	text, err := os.ReadFile(pidfile)
	if err != nil || string(text) != strconv.Itoa(os.Getpid())+"\n" {
		return 0, fmt.Errorf("overlap: the PID file says %q, %v", text, err)
	}
	return turn, nil
}

// Row A2.
func TestChurnOfEightProcessesNeverOverlaps(t *testing.T) {
	const processes = 8
	turns := proctest.Rounds(300, 3000, 3000)
	deadline := time.Now()
	if proctest.Long() {
		deadline = deadline.Add(5 * time.Minute)
	}
	total := 0
	for round := 0; round == 0 || time.Now().Before(deadline); round++ {
		witness := filepath.Join(t.TempDir(), "witness")
		require.NoError(t, os.WriteFile(witness, nil, 0o600))
		pidfile := proctest.PIDPath(t)
		var all []*proctest.Process
		for range processes {
			all = append(all, proctest.Start(t, churner, pidfile, witness, strconv.Itoa(turns), "release"))
		}
		counted := 0
		for _, p := range all {
			require.Equal(t, 0, p.Wait(), "%s", p.Out)
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(p.Out.String(), "turns: ")))
			require.NoError(t, err)
			counted += n
		}
		count, err := os.ReadFile(witness)
		require.NoError(t, err)
		require.EqualValues(t, counted, binary.NativeEndian.Uint64(count), "every process had all its turns")
		require.GreaterOrEqual(t, counted, turns)
		require.NoFileExists(t, pidfile)
		total += counted
	}
	t.Logf("%d turns of %d processes, no two at once", total, processes)
}
