package activation

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// maxName is the greatest length of a name (sd_pid_notify_with_fds(3), FDNAME=).
const maxName = 255

// Name returns a name for FDNAME= that represents any text. A name is ASCII without control
// characters and without the colon, which separates names. Name encodes every other byte, and the
// percent sign, as %XX, as in a URL. If the text is too long, the name consists of the beginning of
// the text and a hash.
func Name(key string) string {
	name := escape(key)
	if len(name) <= maxName {
		return name
	}
	hash := sha256.Sum256([]byte(key))
	return escape(key[:60] + "#" + hex.EncodeToString(hash[:]))
}

func escape(key string) string {
	var name strings.Builder
	for i := range len(key) {
		if c := key[i]; c < ' ' || c > '~' || c == ':' || c == '%' {
			fmt.Fprintf(&name, "%%%02X", c)
		} else {
			name.WriteByte(c)
		}
	}
	return name.String()
}

// Key returns the text for which Name returned name. ok reports whether Name can return that name.
func Key(name string) (key string, ok bool) {
	var text strings.Builder
	for rest := name; rest != ""; {
		before, after, escaped := strings.Cut(rest, "%")
		text.WriteString(before)
		if !escaped {
			break
		}
		if len(after) < 2 {
			return "", false
		}
		c, err := strconv.ParseUint(after[:2], 16, 8)
		if err != nil {
			return "", false
		}
		text.WriteByte(byte(c))
		rest = after[2:]
	}
	key = text.String()
	return key, Name(key) == name
}
