package keeper

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheUnitIsTheLastServiceInTheControlGroup(t *testing.T) {
	for groups, want := range map[string]struct {
		unit string
		user bool
	}{
		"0::/system.slice/echod.service\n":                                           {"echod.service", false},
		"0::/system.slice/system-echod.slice/echod@a\\x2db.service/worker\n":         {"echod@a\\x2db.service", false},
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/echod.service\n": {"echod.service", true},
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte-1.scope\n":   {"", true},
		"0::/user.slice/user-0.slice/session-1.scope\n":                              {"", false},
		"0::/system.slice/_cpu.service\n":                                            {"cpu.service", false},
		"0::/\n":                                                                     {"", false},
		"":                                                                           {"", false},
		"12:cpu:/docker/1.service\n1:name=systemd:/system.slice/echod.service\n0::/x\n": {"echod.service", false},
	} {
		unit, user := unitOf(groups)
		require.Equal(t, want.unit, unit, groups)
		require.Equal(t, want.user, user, groups)
	}
}
