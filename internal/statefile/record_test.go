package statefile

import (
	"bytes"
	"fmt"
	"hash/crc64"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mustSeal returns the record of an object with that text.
func mustSeal(t testing.TB, text string) (record []byte) {
	t.Helper()
	record, err := Seal(fmt.Appendf(nil, `{"format":1,"text":%q}`, text))
	require.NoError(t, err)
	require.Len(t, record, Size)
	return record
}

func TestUnsealReturnsAnObjectOfAnySizeThatFits(t *testing.T) {
	for size := len(`{"":0}`); size <= MaxObject; size++ {
		object := []byte(`{"` + strings.Repeat("x", size-len(`{"":0}`)) + `":0}`)
		record, err := Seal(object)
		require.NoError(t, err)
		got, err := Unseal(record)
		require.NoError(t, err)
		require.Equal(t, object, got)
	}
	_, err := Seal(make([]byte, MaxObject+1))
	require.EqualError(t, err, "does not fit")
}

func TestUnsealDetectsAChangeOfAnyByte(t *testing.T) {
	record := mustSeal(t, "any")
	for i := range record {
		for _, flip := range []byte{1 << (i % 8), 0xff} {
			record[i] ^= flip
			_, err := Unseal(record)
			require.ErrorIs(t, err, ErrDamaged, "byte %d", i)
			record[i] ^= flip
		}
	}
	_, err := Unseal(record)
	require.NoError(t, err)
}

// A torn read returns the front of one record and the back of another.
func TestUnsealDetectsAnyMixOfTwoRecords(t *testing.T) {
	one := mustSeal(t, "7")
	for _, other := range [][]byte{mustSeal(t, strings.Repeat("x", 3000)), mustSeal(t, "8")} {
		mixes := 0
		for at := range Size {
			for _, mixed := range [][]byte{slices.Concat(one[:at], other[at:]), slices.Concat(other[:at], one[at:])} {
				if bytes.Equal(mixed, one) || bytes.Equal(mixed, other) {
					continue
				}
				mixes++
				_, err := Unseal(mixed)
				require.ErrorIs(t, err, ErrDamaged, "%s", mixed)
			}
		}
		require.Greater(t, mixes, Size)
	}
}

func TestUnsealRefusesOtherContent(t *testing.T) {
	record := mustSeal(t, "any")
	for what, content := range map[string][]byte{
		"nothing":             nil,
		"one byte":            record[:1],
		"one byte less":       record[:Size-1],
		"the rest":            record[1:],
		"one byte more":       append(bytes.Clone(record), ' '),
		"two":                 slices.Concat(record, record),
		"zeros":               make([]byte, Size),
		"spaces":              bytes.Repeat([]byte(" "), Size),
		"all bits":            bytes.Repeat([]byte{0xff}, Size),
		"without a checksum":  append(bytes.Clone(record[:bodySize]), bytes.Repeat([]byte(" "), sumSize)...),
		"the checksum of all": fmt.Appendf(bytes.Clone(record[:bodySize]), sumFormat, crc64.Checksum(record, sumTable())),
		"a capital checksum":  append(bytes.Clone(record[:bodySize]), bytes.ToUpper(record[bodySize:])...),
	} {
		object, err := Unseal(content)
		require.ErrorIs(t, err, ErrDamaged, what)
		require.Nil(t, object, what)
	}
}
