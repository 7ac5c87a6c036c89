package proc

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func environmentOf(pid int, variable string) string {
	text := memory.read("/proc/" + strconv.Itoa(pid) + "/environ")
	for entry := range bytes.SplitSeq(text, []byte{0}) {
		if value, found := bytes.CutPrefix(entry, []byte(variable+"=")); found {
			return string(value)
		}
	}
	return ""
}

func image(pid int) string {
	auxv := memory.read("/proc/" + strconv.Itoa(pid) + "/auxv")
	if len(auxv) == 0 {
		return ""
	}
	sum := sha256.Sum256(auxv)
	return hex.EncodeToString(sum[:16])
}

func uniqueImage(pid int) string {
	random, err := os.ReadFile("/proc/sys/kernel/randomize_va_space")
	if err != nil || strings.TrimSpace(string(random)) == "0" {
		return ""
	}
	text := memory.read("/proc/" + strconv.Itoa(pid) + "/personality")
	flags, err := strconv.ParseUint(strings.TrimSpace(string(text)), 16, 32)
	if err != nil || flags&addrNoRandomize != 0 {
		return ""
	}
	return image(pid)
}

// addrNoRandomize is ADDR_NO_RANDOMIZE of personality(2), which package unix does not have.
const addrNoRandomize = 0x0040000

func hasGroup(group int) bool {
	if group <= 1 {
		return false
	}
	err := unix.Kill(-group, 0)
	return err == nil || err == unix.EPERM
}
