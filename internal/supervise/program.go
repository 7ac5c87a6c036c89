package supervise

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"example.com/lifecycle/internal/sys/execve"
)

// checkProgram returns an error if the file at path cannot be the new program. It describes errors
// that execve(2) does not distinguish.
func checkProgram(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return &os.PathError{Op: "exec", Path: path, Err: syscall.EISDIR}
	case !info.Mode().IsRegular():
		return fmt.Errorf("exec %s: it is not a regular file", path)
	}
	if info.Mode().Perm()&0o111 == 0 {
		return &os.PathError{Op: "exec", Path: path, Err: syscall.EACCES}
	}
	head, err := headOf(path)
	if errors.Is(err, os.ErrPermission) {
		return nil // a program need not be readable
	}
	if err != nil {
		return err
	}
	return checkHead(path, head)
}

// maxHead is the length of the fields of an ELF header up to e_machine (elf(5)).
const maxHead = 20

// headOf returns the first bytes of a regular file.
func headOf(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, maxHead)
	n, err := io.ReadFull(f, head)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return head[:n], err
}

// checkHead compares the first bytes of a program with the first bytes of this program.
func checkHead(path string, head []byte) error {
	switch {
	case len(head) == 0:
		return fmt.Errorf("exec %s: the file is empty", path)
	case bytes.HasPrefix(head, []byte("#!")):
		return fmt.Errorf("exec %s: it is a script, not a program with this library", path)
	case !bytes.HasPrefix(head, []byte("\x7fELF")) || len(head) < maxHead:
		return fmt.Errorf("exec %s: it is not a program: %w", path, syscall.ENOEXEC)
	}
	own, err := headOf(execve.ProcessExecutable)
	if err != nil || len(own) < maxHead {
		return nil
	}
	if machineOf(own) != machineOf(head) {
		return fmt.Errorf("exec %s: it was built for another architecture (ELF machine %d): %w", path, machineOf(head)[1], syscall.ENOEXEC)
	}
	return nil
}

// machineOf returns the class and byte order, and the machine, of an ELF header.
func machineOf(head []byte) [2]uint16 {
	order := binary.ByteOrder(binary.LittleEndian)
	if head[5] == 2 { // ELFDATA2MSB
		order = binary.BigEndian
	}
	return [2]uint16{uint16(head[4])<<8 | uint16(head[5]), order.Uint16(head[18:])}
}
