package statefile

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc64"
	"slices"
	"sync"
)

// A record is a JSON object, padded with spaces, with the checksum as its last field. The checksum
// is necessary because on tmpfs and ext4 a read can return an incomplete pwrite(2). Two equal reads
// do not prove that a record is complete.

const (
	// Size is the size of a record.
	Size = 4096
	// MaxObject is the size of the largest JSON object that a record can hold.
	MaxObject = bodySize + len("}")

	sumFormat = `,"sum":"%016x"}` + "\n"
	sumSize   = len(`,"sum":"0123456789abcdef"}`) + 1
	bodySize  = Size - sumSize
)

// recordPrefix is the beginning of each intact record.
const recordPrefix = `{"format":`

// sumTable is computed at its first use, because a launcher does not need it.
var sumTable = sync.OnceValue(func() *crc64.Table { return crc64.MakeTable(crc64.ECMA) })

// ErrDamaged reports that a record was read during a write, or was never completed.
var ErrDamaged = errors.New("the record is damaged")

// Seal makes a record from a JSON object.
func Seal(object []byte) (record []byte, err error) {
	if len(object) > MaxObject {
		return nil, errors.New("does not fit")
	}
	record = append(make([]byte, 0, Size), bytes.TrimSuffix(object, []byte("}"))...)
	for len(record) < bodySize {
		record = append(record, ' ')
	}
	return fmt.Appendf(record, sumFormat, crc64.Checksum(record, sumTable())), nil
}

// Unseal returns the JSON object of a record, or [ErrDamaged].
func Unseal(record []byte) (object []byte, err error) {
	if len(record) != Size {
		return nil, ErrDamaged
	}
	body := record[:bodySize]
	if !bytes.Equal(record[bodySize:], fmt.Appendf(nil, sumFormat, crc64.Checksum(body, sumTable()))) {
		return nil, ErrDamaged
	}
	return slices.Concat(bytes.TrimRight(body, " "), []byte("}")), nil
}

// resemblesRecord reports whether the content of a file is a record or a part of one. A power
// failure or a full disk can leave a part of a record, or NUL bytes.
func resemblesRecord(content []byte) bool {
	return len(content) <= Size &&
		(bytes.HasPrefix(content, []byte(recordPrefix)) || len(bytes.Trim(content, "\x00")) == 0)
}
