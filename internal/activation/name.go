package activation

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// maxName is how long a name may be (sd_pid_notify_with_fds(3), FDNAME=).
const maxName = 255

// Name makes a name for FDNAME= of any text. A name is ASCII, without a colon, which separates names, or a control character; those and the percent sign become %XX, as
// in a URL. Of a text that is too long, the name has the beginning and a hash.
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

// Key is the text of which Name has made the name, if it is one that Name can have made.
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
