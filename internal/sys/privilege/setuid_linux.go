package privilege

import (
	"encoding/binary"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Types of entries of the auxiliary vector, getauxval(3).
const (
	atNull   = 0
	atUID    = 11
	atEUID   = 12
	atGID    = 13
	atEGID   = 14
	atSecure = 23
)

type vector map[uintptr]uintptr

// lookAtStart reads the auxiliary vector in several ways, because the caller can hide it from the
// Go runtime. Go expects the vector right after the environment. But ld.so removes variables such
// as LD_X from the environment of a setuid program, and moves the rest. Go then reads
// /proc/self/auxv. A program with file capabilities may not read this file.
func lookAtStart() execution {
	for _, find := range []func() vector{ofRuntime, ofKernel, ofProc} {
		if v := find(); v.tells() {
			return v.execution()
		}
	}
	// The caller has hidden the vector, because every kernel provides AT_SECURE.
	return execution{isSetuid: true, asOther: othersIDs()}
}

func othersIDs() bool { return os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid() }

func (v vector) tells() bool {
	for _, entry := range []uintptr{atUID, atEUID, atGID, atEGID, atSecure} {
		if _, ok := v[entry]; !ok {
			return false
		}
	}
	return true
}

func (v vector) execution() execution {
	asOther := v[atUID] != v[atEUID] || v[atGID] != v[atEGID]
	// A security module also sets AT_SECURE for a service that root starts in another domain. A
	// service of root need not be protected from root.
	byRoot := v[atUID] == 0 && !asOther
	return execution{isSetuid: v[atSecure] != 0 && !byRoot, asOther: asOther}
}

func ofRuntime() vector {
	entries, err := unix.Auxv()
	if err != nil {
		return nil
	}
	v := vector{}
	for _, entry := range entries {
		v[entry[0]] = entry[1]
	}
	return v
}

// ofKernel reads the vector from the kernel (PR_GET_AUXV(2const), Linux 6.4).
func ofKernel() vector {
	buf := make([]byte, 4096)
	n, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_GET_AUXV,
		uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0, 0)
	if errno != 0 {
		return nil
	}
	return parseVector(buf[:min(int(n), len(buf))])
}

func ofProc() vector {
	text, err := os.ReadFile("/proc/self/auxv")
	if err != nil {
		return nil
	}
	return parseVector(text)
}

func parseVector(text []byte) vector {
	const word = int(unsafe.Sizeof(uintptr(0)))
	number := func(b []byte) uintptr {
		if word == 4 {
			return uintptr(binary.NativeEndian.Uint32(b))
		}
		return uintptr(binary.NativeEndian.Uint64(b))
	}
	v := vector{}
	for ; len(text) >= 2*word; text = text[2*word:] {
		if number(text) == atNull {
			break
		}
		v[number(text)] = number(text[word:])
	}
	return v
}
