package cgroup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/takeover"
)

func TestAnotherProgramOfTheProcessAdoptsTheGroup(t *testing.T) {
	_, dir := runInside(t, true, "adopt")
	require.Empty(t, proctest.Cgroups(t, dir))
}

// adoptGroup makes a group with a process, and executes this program again, which adopts the group.
func adoptGroup() error {
	in := takeover.Inherited()
	if in == nil {
		_, g, err := newGroup("x")
		if err != nil {
			return err
		}
		if _, err := startIn(g, "echo; exec sleep 60"); err != nil {
			return err
		}
		return takeover.Execute(func(f func()) { f() }, takeover.Spec{
			Path: proctest.Binary(), Args: os.Args, Env: os.Environ(), State: g.Name(),
		})
	}
	var name string
	if err := json.Unmarshal(in.State, &name); err != nil {
		return err
	}
	tree, err := Own()
	if err != nil {
		return err
	}
	g, err := tree.Adopt(name)
	if err != nil {
		return err
	}
	if !g.Populated() || g.Name() != name {
		return fmt.Errorf("adopted %q, populated: %t", g.Name(), g.Populated())
	}
	next, err := tree.New("x")
	if err != nil {
		return err
	}
	if found := tree.Abandoned("x"); len(found) != 0 {
		return fmt.Errorf("the group counts as abandoned: %v", found)
	}
	if _, err := tree.Adopt(name); !errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("adopted twice: %w", err)
	}
	for _, wrong := range []string{"", "..", prefix + "/..", "other"} {
		if _, err := tree.Adopt(wrong); !errors.Is(err, fs.ErrInvalid) {
			return fmt.Errorf("adopted %q: %w", wrong, err)
		}
	}
	if err := g.Kill(time.Now().Add(proctest.Patience)); err != nil {
		return err
	}
	if _, err := unix.Wait4(-1, nil, 0, nil); err != nil {
		return err
	}
	return errors.Join(g.Remove(), next.Remove())
}
